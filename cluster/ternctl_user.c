/*
 * ternctl user: password files.
 */
#include "cluster/ternctl.h"

static int not_yet(const char *words)
{
    return ternctl_wrong_usage(words, "not there yet");
}

int ternctl_user_add(int argument_count, char *const *arguments)
{
    (void)argument_count, (void)arguments;
    return not_yet("user add");
}

int ternctl_user_del(int argument_count, char *const *arguments)
{
    (void)argument_count, (void)arguments;
    return not_yet("user del");
}

int ternctl_user_list(int argument_count, char *const *arguments)
{
    (void)argument_count, (void)arguments;
    return not_yet("user list");
}

int ternctl_user_check(int argument_count, char *const *arguments)
{
    (void)argument_count, (void)arguments;
    return not_yet("user check");
}
