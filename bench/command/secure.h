/*
 * secure: what options say of TLS, checked, and made into what a load needs.
 *
 * Floor:  bench.
 * Thread: any; reads files.
 * Memory: the context belongs to the load_config; who made that gives it back with secure_release().
 */
#ifndef TERN_BENCH_SECURE_H
#define TERN_BENCH_SECURE_H

#include "bench/command/job.h"

/* The port that is meant when none is given: 1883, 8883, 8084. */
uint16_t secure_port(const struct options *options);

/*
 * Fill in load->tls and load->tls_server_name; NULL both, when TLS is not asked for.
 * ERR_INVALID, ERR_NOMEM: problem says which option, why, and what would do.
 */
enum err secure_load(const struct options *options, struct load_config *load,
                     char problem[JOB_PROBLEM_BYTES]);

void secure_release(struct load_config *load); /* accepts one without TLS */

#endif
