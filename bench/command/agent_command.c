#include "bench/command/host.h"
#include "bench/command/run.h"
#include "bench/crew/agent.h"

int agent_command(const struct options *options, const volatile bool *is_stopped)
{
    char problem[HOST_PROBLEM_BYTES];
    struct agent_options agent = {
        .key = options->agent_key,
        .thread_count = (uint32_t)options->threads,
        .log = stderr,
    };
    enum err err = host_find_port(options->listen, &agent.listen, problem);
    if (err != OK) {
        fprintf(stderr, "tern-bench: --listen: %s\n", problem);
        return err == ERR_NOT_FOUND ? EXIT_NO_HOST : EXIT_USAGE;
    }
    err = agent_serve(&agent, is_stopped);
    if (err != OK) {
        fprintf(stderr, "tern-bench: --listen: cannot listen on %s: %s\n", options->listen,
                err == ERR_EXISTS ? "the address is in use" : err_text(err));
        return EXIT_UNAVAILABLE;
    }
    return EXIT_WELL;
}
