#include "bench/command/progress.h"

#include "bench/command/words.h"

static void tell(void *context, uint32_t index, const struct series_second *second)
{
    FILE *out = context;
    char sent[WORDS_BYTES], delivered[WORDS_BYTES], p50[WORDS_BYTES], p99[WORDS_BYTES];
    char max[WORDS_BYTES], memory[WORDS_BYTES];

    fprintf(out, "%4u s: sent %s, delivered %s", index + 1, words_count(second->sent_count, sent),
            words_count(second->delivered_count, delivered));
    if (second->delivered_count > 0) {
        fprintf(out, ", p50 %s, p99 %s, max %s", words_duration(second->p50_ns, p50),
                words_duration(second->p99_ns, p99), words_duration(second->max_ns, max));
    }
    if (second->has_target) {
        fprintf(out, "; broker %.0f %% of a core, %s", 100 * second->broker_cores,
                words_bytes((double)second->resident_bytes, memory));
    }
    fputc('\n', out);
    fflush(out);
}

void progress_attach(struct series *series, FILE *out)
{
    series_on_second(series, tell, out);
}
