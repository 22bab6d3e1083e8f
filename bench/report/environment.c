#include "bench/report/environment.h"

#include "bench/command/words.h"
#include "core/io/sys.h"

#include <dirent.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_TEXT_BYTES = 16384,
    PATH_BYTES = 320,
};

/* clang-format off */
#define FACT(member, title, is_of_run) \
    {#member, title, offsetof(struct environment, member), sizeof(((struct environment *)0)->member), is_of_run}
static const struct {
    const char *key, *title;
    size_t offset, bytes;
    bool is_of_run;
} facts[] = {
    FACT(time,               "time",                    true),
    FACT(system,             "system",                  false),
    FACT(kernel,             "kernel",                  false),
    FACT(cpu,                "CPU",                     false),
    FACT(cores,              "cores",                   false),
    FACT(governor,           "CPU governor",            false),
    FACT(virtualisation,     "virtualisation",          false),
    FACT(mitigations,        "CPU vulnerabilities",     false),
    FACT(memory,             "memory",                  false),
    FACT(clock_source,       "clock source",            false),
    FACT(congestion_control, "TCP congestion control",  false),
    FACT(backlog_max,        "somaxconn",               false),
    FACT(port_range,         "local ports",             false),
    FACT(file_limit,         "files of the generator",  false),
    FACT(load_before,        "load average before",     true),
    FACT(load_after,         "load average after",      true),
    FACT(generator,          "generator",               false),
    FACT(command,            "command",                 true),
    FACT(broker_address,     "broker",                  true),
    FACT(broker_process,     "broker's process",        true),
    FACT(broker_command,     "broker's command",        true),
    FACT(broker_cores,       "broker's cores",          false),
    FACT(broker_threads,     "broker's threads",        false),
    FACT(broker_file_limit,  "files of the broker",     false),
};
/* clang-format on */

enum { FACT_COUNT = sizeof(facts) / sizeof(facts[0]) };

/* ---- texts of the system ------------------------------------------------------------------- */

/* The file as text; "" when it is not there, or longer. */
static char *file_text(const char *path, char text[FILE_TEXT_BYTES])
{
    size_t count = 0;
    if (sys_read_file(path, text, FILE_TEXT_BYTES - 1, &count) != OK) {
        count = 0;
    }
    text[count] = '\0';
    return text;
}

/* The first count bytes of from, one line, without blanks at its ends. */
static void set_text(char *out, size_t out_bytes, const char *from, size_t count)
{
    while (count > 0 && strchr(" \t\n\"", from[0]) != NULL) {
        from++;
        count--;
    }
    while (count > 0 && strchr(" \t\n\"", from[count - 1]) != NULL) {
        count--;
    }
    count = count < out_bytes ? count : out_bytes - 1;
    memcpy(out, from, count);
    out[count] = '\0';
    for (char *at = out; *at != '\0'; at++) {
        *at = (unsigned char)*at < ' ' ? ' ' : *at;
    }
}

static void set_file(char out[ENVIRONMENT_TEXT_BYTES], const char *path)
{
    char text[FILE_TEXT_BYTES];
    file_text(path, text);
    set_text(out, ENVIRONMENT_TEXT_BYTES, text, strlen(text));
}

/* What follows key and separator on the first line that begins with key. False: there is none. */
static bool line_value(const char *text, const char *key, char separator,
                       char out[ENVIRONMENT_TEXT_BYTES])
{
    size_t key_count = strlen(key);
    for (const char *line = text; *line != '\0';) {
        size_t count = strcspn(line, "\n");
        const char *at = memchr(line, separator, count);
        if (at != NULL && strncmp(line, key, key_count) == 0) {
            set_text(out, ENVIRONMENT_TEXT_BYTES, at + 1, count - (size_t)(at + 1 - line));
            return true;
        }
        line += count + (line[count] == '\n' ? 1 : 0);
    }
    return false;
}

/* ---- the machine --------------------------------------------------------------------------- */

static void set_memory(struct environment *out)
{
    char text[FILE_TEXT_BYTES], total[ENVIRONMENT_TEXT_BYTES], free_[ENVIRONMENT_TEXT_BYTES];
    char all[WORDS_BYTES], left[WORDS_BYTES];
    file_text("/proc/meminfo", text);
    if (line_value(text, "MemTotal", ':', total) && line_value(text, "MemAvailable", ':', free_)) {
        snprintf(out->memory, sizeof(out->memory), "%s, %s of it available",
                 words_bytes(strtod(total, NULL) * 1024, all),
                 words_bytes(strtod(free_, NULL) * 1024, left));
    }
}

static void set_cpu(struct environment *out)
{
    char text[FILE_TEXT_BYTES], value[ENVIRONMENT_TEXT_BYTES];
    char path[] = "/proc/cpuinfo"; /* longer than our buffer on large machines: read its head */
    FILE *file = fopen(path, "re");
    size_t count = file == NULL ? 0 : fread(text, 1, sizeof(text) - 1, file);
    text[count] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    if (!line_value(text, "model name", ':', out->cpu) &&
        !line_value(text, "Model", ':', out->cpu)) {
        (void)line_value(text, "CPU part", ':', out->cpu);
    }
    bool is_guest = line_value(text, "flags", ':', value) && strstr(text, " hypervisor") != NULL;
    set_file(value, "/sys/class/dmi/id/product_name");
    bool is_contained = access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0;
    snprintf(out->virtualisation, sizeof(out->virtualisation), "%s%s%.100s%s%s",
             is_guest ? "a virtual machine" : "", is_guest && value[0] != '\0' ? ": " : "",
             is_guest ? value : "", is_guest && is_contained ? ", " : "",
             is_contained ? "in a container" : "");
}

/* "9 mitigated, 8 not affected, vulnerable: mds, retbleed" */
static void set_mitigations(struct environment *out)
{
    static const char folder[] = "/sys/devices/system/cpu/vulnerabilities";
    char path[PATH_BYTES], text[ENVIRONMENT_TEXT_BYTES], names[ENVIRONMENT_TEXT_BYTES] = "";
    uint32_t mitigated = 0, unaffected = 0, vulnerable = 0;
    DIR *listing = opendir(folder);
    if (listing == NULL) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        set_file(text, path);
        if (strncmp(text, "Not affected", 12) == 0) {
            unaffected++;
        } else if (strncmp(text, "Vulnerable", 10) == 0) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof(names) - used, "%s%.32s", vulnerable == 0 ? "" : ", ",
                     entry->d_name);
            vulnerable++;
        } else {
            mitigated++;
        }
    }
    closedir(listing);
    snprintf(out->mitigations, sizeof(out->mitigations),
             "%u mitigated, %u not affected, %u vulnerable%s%.120s", mitigated, unaffected,
             vulnerable, vulnerable == 0 ? "" : ": ", names);
}

static void set_load(char out[ENVIRONMENT_TEXT_BYTES])
{
    double load[3];
    if (getloadavg(load, 3) == 3) {
        snprintf(out, ENVIRONMENT_TEXT_BYTES, "%.2f %.2f %.2f", load[0], load[1], load[2]);
    }
}

static void set_machine(struct environment *out)
{
    char text[FILE_TEXT_BYTES], cores[ENVIRONMENT_TEXT_BYTES] = "all";
    struct utsname name;
    struct rlimit files;
    time_t now = time(NULL);
    struct tm utc;

    if (gmtime_r(&now, &utc) != NULL) {
        strftime(out->time, sizeof(out->time), "%Y-%m-%d %H:%M:%S UTC", &utc);
    }
    if (uname(&name) == 0) {
        snprintf(out->kernel, sizeof(out->kernel), "%.40s %.80s %.40s", name.sysname, name.release,
                 name.machine);
    }
    (void)line_value(file_text("/etc/os-release", text), "PRETTY_NAME", '=', out->system);
    set_cpu(out);
    (void)line_value(file_text("/proc/self/status", text), "Cpus_allowed_list", ':', cores);
    snprintf(out->cores, sizeof(out->cores), "%ld, the generator may use %.100s",
             sysconf(_SC_NPROCESSORS_ONLN), cores);
    set_memory(out);
    set_mitigations(out);
    set_file(out->governor, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    set_file(out->clock_source, "/sys/devices/system/clocksource/clocksource0/current_clocksource");
    set_file(out->congestion_control, "/proc/sys/net/ipv4/tcp_congestion_control");
    set_file(out->backlog_max, "/proc/sys/net/core/somaxconn");
    set_file(out->port_range, "/proc/sys/net/ipv4/ip_local_port_range");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        snprintf(out->file_limit, sizeof(out->file_limit), "%" PRIu64, (uint64_t)files.rlim_cur);
    }
    set_load(out->load_before);
}

/* ---- command lines ------------------------------------------------------------------------- */

/* A secret of its own word comes next; or begins at an offset in this word. */
static bool is_secret_next(const char *word, size_t *offset)
{
    static const char *const names[] = {"--password", "--agent-key", "-P"};
    *offset = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t count = strlen(names[i]);
        if (strncmp(word, names[i], count) != 0) {
            continue;
        }
        if (word[count] == '\0') {
            return true;
        }
        if (word[count] == '=' || names[i][1] != '-') { /* --password=SECRET, -PSECRET */
            *offset = count + (word[count] == '=' ? 1 : 0);
            return false;
        }
    }
    return false;
}

static void add_word(char out[ENVIRONMENT_COMMAND_BYTES], const char *word, bool *is_secret)
{
    size_t used = strlen(out), offset = 0;
    bool is_hidden = *is_secret;
    *is_secret = !is_hidden && is_secret_next(word, &offset);
    const char *quote = strpbrk(word, " '\"$*?;&|<>()#") == NULL || is_hidden ? "" : "'";
    if (is_hidden) {
        word = "***";
    }
    snprintf(out + used, ENVIRONMENT_COMMAND_BYTES - used, "%s%s%.*s%s%s", used == 0 ? "" : " ",
             quote, offset > 0 ? (int)offset : ENVIRONMENT_COMMAND_BYTES, word,
             offset > 0 ? "***" : "", quote);
    for (char *at = out + used; *at != '\0'; at++) {
        *at = (unsigned char)*at < ' ' ? ' ' : *at;
    }
}

static void set_command(char out[ENVIRONMENT_COMMAND_BYTES], int count, char **values)
{
    bool is_secret = false;
    for (int i = 0; i < count; i++) {
        add_word(out, values[i], &is_secret);
    }
}

/* ---- the broker ---------------------------------------------------------------------------- */

static char *process_text(int32_t pid, const char *name, char text[FILE_TEXT_BYTES], size_t *count)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    if (sys_read_file(path, text, FILE_TEXT_BYTES - 1, count) != OK) {
        *count = 0;
    }
    text[*count] = '\0';
    return text;
}

static void set_broker(struct environment *out, int32_t pid)
{
    char text[FILE_TEXT_BYTES], name[ENVIRONMENT_TEXT_BYTES];
    size_t count;
    process_text(pid, "status", text, &count);
    (void)line_value(text, "Cpus_allowed_list", ':', out->broker_cores);
    (void)line_value(text, "Threads", ':', out->broker_threads);
    if (line_value(text, "Name", ':', name)) {
        snprintf(out->broker_process, sizeof(out->broker_process), "%.60s, pid %d", name, pid);
    }
    process_text(pid, "limits", text, &count);
    const char *at = strstr(text, "Max open files");
    if (at != NULL) {
        snprintf(out->broker_file_limit, sizeof(out->broker_file_limit), "%" PRIu64,
                 (uint64_t)strtoull(at + strlen("Max open files"), NULL, 10));
    }
    process_text(pid, "cmdline", text, &count);
    bool is_secret = false;
    for (size_t begin = 0; begin < count; begin += strlen(text + begin) + 1) {
        add_word(out->broker_command, text + begin, &is_secret);
    }
}

void environment_begin(struct environment *out, int count, char **values, int32_t broker_pid,
                       const char *broker_address)
{
    memset(out, 0, sizeof(*out));
    set_machine(out);
    snprintf(out->generator, sizeof(out->generator), "tern-bench %s, commit %s", TERN_VERSION,
             environment_commit());
    set_command(out->command, count, values);
    set_text(out->broker_address, sizeof(out->broker_address), broker_address,
             strlen(broker_address));
    if (broker_pid > 0) {
        set_broker(out, broker_pid);
    }
}

void environment_end(struct environment *environment)
{
    set_load(environment->load_after);
}

/* ---- asking -------------------------------------------------------------------------------- */

bool environment_next(const struct environment *environment, uint32_t *cursor,
                      struct environment_fact *out)
{
    while (*cursor < FACT_COUNT) {
        uint32_t index = (*cursor)++;
        const char *value = (const char *)environment + facts[index].offset;
        if (value[0] != '\0') {
            *out = (struct environment_fact){facts[index].key, facts[index].title, value,
                                             facts[index].is_of_run};
            return true;
        }
    }
    return false;
}

const char *environment_value(const struct environment *environment, const char *key)
{
    for (uint32_t i = 0; i < FACT_COUNT; i++) {
        if (strcmp(facts[i].key, key) == 0) {
            return (const char *)environment + facts[i].offset;
        }
    }
    return "";
}

void environment_write_json(const struct environment *environment, struct json_writer *writer,
                            const char *key)
{
    struct environment_fact fact;
    json_object_begin(writer, key);
    for (uint32_t cursor = 0; environment_next(environment, &cursor, &fact);) {
        json_add_text(writer, fact.key, slice_text(fact.value));
    }
    json_object_end(writer);
}

void environment_read_json(const struct json *object, struct environment *out)
{
    struct slice text;
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < FACT_COUNT; i++) {
        if (json_get_text(json_member(object, facts[i].key), &text) == OK) {
            set_text((char *)out + facts[i].offset, facts[i].bytes, (const char *)text.data,
                     text.count);
        }
    }
}
