/*
 * Findings in the order they were made, and the memory that texts of a configuration live in.
 */
#include "core/base/config_parts.h"

#include <stdarg.h>
#include <stdlib.h>

/* ---- memory -------------------------------------------------------------------------------- */

enum { BLOCK_BYTES = 4096 };

struct config_memory {
    struct config_memory *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

void *config_memory_take(struct config_memory **memory, size_t bytes)
{
    struct config_memory *block = *memory;
    bytes = (bytes + 15) & ~(size_t)15;
    if (block == NULL || block->size - block->used < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        block = malloc(sizeof(*block) + size);
        if (block == NULL) {
            return NULL;
        }
        block->next = *memory;
        block->used = 0;
        block->size = size;
        *memory = block;
    }
    void *taken = block->bytes + block->used;
    block->used += bytes;
    return taken;
}

const char *config_memory_copy(struct config_memory **memory, struct slice text)
{
    char *copy = config_memory_take(memory, text.count + 1);
    if (copy == NULL) {
        return NULL;
    }
    if (text.count > 0) {
        memcpy(copy, text.data, text.count);
    }
    copy[text.count] = '\0';
    return copy;
}

void config_memory_free(struct config_memory *memory)
{
    while (memory != NULL) {
        struct config_memory *next = memory->next;
        free(memory);
        memory = next;
    }
}

/* ---- findings ------------------------------------------------------------------------------ */

void config_report_init(struct config_report *report)
{
    *report = (struct config_report){.findings = NULL};
}

void config_report_deinit(struct config_report *report)
{
    free(report->findings);
    config_memory_free(report->memory);
    config_report_init(report);
}

const char *config_report_text(struct config_report *report, struct slice text)
{
    const char *copy = config_memory_copy(&report->memory, text);
    return copy == NULL ? "" : copy;
}

/* NULL: full, or memory is exhausted; the counts are right all the same. */
static struct config_finding *finding_new(struct config_report *report)
{
    if (report->finding_count == report->finding_slots) {
        uint32_t slots = report->finding_slots == 0 ? 16 : 2 * report->finding_slots;
        struct config_finding *findings = realloc(report->findings,
                                                  slots * sizeof(report->findings[0]));
        if (findings == NULL) {
            return NULL;
        }
        report->findings = findings;
        report->finding_slots = slots;
    }
    return &report->findings[report->finding_count++];
}

void config_report_add(struct config_report *report, enum config_severity severity,
                       const char *source, uint32_t line, const char *format, ...)
{
    char text[1024];
    report->error_count += severity == CONFIG_ERROR;
    report->warning_count += severity == CONFIG_WARNING;
    if (report->finding_count >= LIMIT_CONFIG_REPORT_ITEMS) {
        return;
    }
    struct config_finding *finding = finding_new(report);
    if (finding == NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    *finding = (struct config_finding){
        .severity = severity,
        .source = source,
        .line = line,
        .text = config_report_text(report, slice_text(text)),
    };
    if (report->finding_count == LIMIT_CONFIG_REPORT_ITEMS) {
        finding->line = 0;
        finding->text = "there is more to say: mend these first";
    }
}

const char *config_severity_name(enum config_severity severity)
{
    static const char *const names[] = {
        [CONFIG_ERROR] = "error", [CONFIG_WARNING] = "warning", [CONFIG_NOTE] = "note"};
    return names[severity];
}

void config_report_print(const struct config_report *report, FILE *file)
{
    for (uint32_t i = 0; i < report->finding_count; i++) {
        const struct config_finding *finding = &report->findings[i];
        fputs(finding->source, file);
        if (finding->line > 0) {
            fprintf(file, ":%u", (unsigned)finding->line);
        }
        fprintf(file, ": %s: %s\n", config_severity_name(finding->severity), finding->text);
    }
}

const char *config_quote(struct slice text, char out[CONFIG_QUOTE_BYTES])
{
    enum { ROOM = CONFIG_QUOTE_BYTES - 4 };
    size_t count = text.count < ROOM ? text.count : ROOM;
    /* Do not cut inside a character: step back over its continuation bytes. */
    while (count < text.count && count > 0 && (text.data[count] & 0xC0) == 0x80) {
        count--;
    }
    for (size_t i = 0; i < count; i++) {
        bool is_control = text.data[i] < 0x20 || text.data[i] == 0x7F;
        out[i] = is_control ? '?' : (char)text.data[i];
    }
    strcpy(out + count, count < text.count ? "..." : "");
    return out;
}
