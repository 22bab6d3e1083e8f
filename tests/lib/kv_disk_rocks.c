#include "tests/lib/kv_disk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static char root[] = "/tmp/tern-kv-XXXXXX";

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    int status = system(command);
    ASSERT(status == 0);
}

const char *kv_disk_begin(void)
{
    snprintf(root, sizeof root, "/tmp/tern-kv-XXXXXX");
    const char *path = mkdtemp(root);
    ASSERT(path != NULL);
    return path;
}

void kv_disk_end(void)
{
    shell("rm -rf '%s'", root);
}

/* What the files are at this moment is what a process that ends here leaves behind. */
void kv_disk_crash(struct kv *kv, const char *folder)
{
    shell("cp -a '%s' '%s.left'", folder, folder);
    kv_close(kv);
    shell("rm -rf '%s'", folder);
    shell("mv '%s.left' '%s'", folder, folder);
}
