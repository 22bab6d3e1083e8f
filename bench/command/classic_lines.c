#include "bench/command/classic_lines.h"

#include "bench/command/words.h"

#include <inttypes.h>
#include <string.h>

enum { TIME_BYTES = 48 };

#define SECOND_NS 1000000000

static const char *const names[] = {
#define CLASSIC_NAME(name) #name,
    CLASSIC_COUNTERS(CLASSIC_NAME)
#undef CLASSIC_NAME
};

/* "7s", "1m5s", "2h0m3s". */
static const char *since_text(uint64_t seconds, char out[TIME_BYTES])
{
    unsigned hours = (unsigned)(seconds / 3600), minutes = (unsigned)(seconds / 60 % 60);
    unsigned rest = (unsigned)(seconds % 60);
    if (hours > 0) {
        snprintf(out, TIME_BYTES, "%uh%um%us", hours, minutes, rest);
    } else if (minutes > 0) {
        snprintf(out, TIME_BYTES, "%um%us", minutes, rest);
    } else {
        snprintf(out, TIME_BYTES, "%us", rest);
    }
    return out;
}

static double ms(const struct histogram *histogram, double part)
{
    return (double)histogram_quantile(histogram, part) / 1e6;
}

void classic_lines_second(struct classic_lines *lines, uint64_t since_ns, FILE *out)
{
    char since[TIME_BYTES];
    double seconds = (double)(since_ns - lines->second_ns) / SECOND_NS;

    since_text((since_ns + SECOND_NS / 2) / SECOND_NS, since);
    for (uint32_t i = 0; out != NULL && i < CLASSIC_COUNTER_COUNT; i++) {
        uint64_t more = lines->counts[i] - lines->before[i];
        if (more > 0) {
            fprintf(out, "%s %s total=%" PRIu64 " rate=%.2f/sec\n", since, names[i],
                    lines->counts[i], seconds <= 0 ? 0 : (double)more / seconds);
        }
    }
    if (out != NULL && lines->headed_count > 0) {
        fprintf(out, "%s publish_latency avg=%" PRIu64 "ms\n", since,
                lines->headed_ms / lines->headed_count);
    }
    if (out != NULL && lines->latency_second.count > 0) {
        fprintf(out, "%s latency p50=%.3fms p99=%.3fms max=%.3fms\n", since,
                ms(&lines->latency_second, 0.5), ms(&lines->latency_second, 0.99),
                ms(&lines->latency_second, 1));
    }
    if (out != NULL) {
        fflush(out);
    }
    histogram_merge(&lines->latency, &lines->latency_second);
    histogram_clear(&lines->latency_second);
    memcpy(lines->before, lines->counts, sizeof(lines->before));
    lines->headed_count = 0;
    lines->headed_ms = 0;
    lines->second_ns = since_ns;
}

static void print_quantiles(const char *what, const struct histogram *histogram, FILE *out)
{
    char count[WORDS_BYTES];
    if (histogram->count > 0) {
        fprintf(out, "  %s ms: p50 %.3f p90 %.3f p99 %.3f p99.9 %.3f max %.3f (of %s)\n", what,
                ms(histogram, 0.5), ms(histogram, 0.9), ms(histogram, 0.99), ms(histogram, 0.999),
                ms(histogram, 1), words_count(histogram->count, count));
    }
}

void classic_lines_summary(const struct classic_lines *lines, uint64_t since_ns, FILE *out)
{
    char count[WORDS_BYTES], rate[WORDS_BYTES];
    double seconds = (double)since_ns / SECOND_NS;

    fprintf(out, "after %.1f s:\n", seconds);
    for (uint32_t i = 0; i < CLASSIC_COUNTER_COUNT; i++) {
        if (lines->counts[i] > 0) {
            fprintf(out, "  %-12s %15s  %s/s\n", names[i], words_count(lines->counts[i], count),
                    words_number(seconds <= 0 ? 0 : (double)lines->counts[i] / seconds, rate));
        }
    }
    print_quantiles("connect", &lines->connect, out);
    print_quantiles("latency", &lines->latency, out);
    fflush(out);
}
