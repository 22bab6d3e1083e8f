#include "cluster/node_http.h"

#include "core/io/sys.h"

#include <stdio.h>
#include <unistd.h>

static void listen_failed(const struct address *at, const char *option, enum err err,
                          struct broker_failure *failure)
{
    char text[ADDRESS_TEXT_MAX];
    bool is_unix = at->kind == ADDRESS_UNIX;
    const char *why = err != ERR_EXISTS ? err_text(err)
                      : is_unix         ? "a file of this name is in use"
                                        : "the address is in use";
    snprintf(failure->text, sizeof(failure->text), "cannot listen on %s: %s: %s chooses another %s",
             address_text(at, text), why, option, is_unix ? "path, or none" : "port, or none");
}

/* The process gives up root later: the file, mode 0600, is for whom it becomes. */
static enum err socket_give(const struct config *config, const struct address *at,
                            struct broker_failure *failure)
{
    if (at->kind != ADDRESS_UNIX || config->user[0] == 0 || geteuid() != 0) {
        return OK;
    }
    enum err err = sys_give_file(at->path, config->user);
    if (err == ERR_NOT_FOUND) {
        return OK; /* there is no such user: who becomes it says so */
    }
    if (err != OK) {
        snprintf(failure->text, sizeof(failure->text), "cannot give %s to user %s: %s", at->path,
                 config->user, err_text(err));
    }
    return err;
}

static enum err listener_open(const struct config *config, struct io *io, struct wheel *wheel,
                              const struct admin_sources *sources, const char *text, uint16_t port,
                              const char *option, struct node_http *out,
                              struct broker_failure *failure)
{
    struct address at;
    if (text[0] == 0) {
        return OK;
    }
    TRY(address_parse(text, port, &at));
    enum err err = out->admin == NULL ? admin_new(io, wheel, &at, sources, &out->admin)
                                      : admin_listen(out->admin, &at);
    if (err != OK) {
        listen_failed(&at, option, err, failure);
        return err;
    }
    admin_address(out->admin, out->count, &out->at[out->count]);
    out->count++;
    return socket_give(config, &at, failure);
}

enum err node_http_open(const struct config *config, struct io *io, struct wheel *wheel,
                        const struct admin_sources *sources, struct node_http *out,
                        struct broker_failure *failure)
{
    *out = (struct node_http){0};
    TRY(listener_open(config, io, wheel, sources, config->http_address, config->http_port,
                      "http_listener", out, failure));
    return listener_open(config, io, wheel, sources, config->http_socket, 0, "http_socket", out,
                         failure);
}

void node_http_close(struct node_http *http)
{
    admin_free(http->admin);
    http->admin = NULL;
}
