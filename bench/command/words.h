/*
 * words: numbers as people read them, the same in text, Markdown, tables and pictures.
 *
 * Floor:  bench; pure.
 */
#ifndef TERN_BENCH_WORDS_H
#define TERN_BENCH_WORDS_H

#include <stdint.h>

enum { WORDS_BYTES = 40 };

/* "1,394,997". Each of these returns out. */
const char *words_count(uint64_t count, char out[WORDS_BYTES]);

/* The same of any number: rounded from 100 on, three digits of what is smaller and not whole. */
const char *words_number(double number, char out[WORDS_BYTES]);

/* "1.2M", "250k", "17": short, for axes. */
const char *words_short(double number, char out[WORDS_BYTES]);

/* "850 ns", "42 us", "1.3 ms", "2.5 s": two or three digits. */
const char *words_duration(uint64_t ns, char out[WORDS_BYTES]);

/* "733 bytes", "5.1 MiB". */
const char *words_bytes(double bytes, char out[WORDS_BYTES]);

#endif
