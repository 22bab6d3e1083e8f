/* The picture: three panels above one another that share the axis of time. */
#include "bench/report/plot.h"

#include "bench/command/words.h"
#include "bench/report/plot_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 960,
    LEFT = 74, /* where the axis of time begins */
    RIGHT = WIDTH - 74,
    TOP = 64,
    PANEL_GAP = 48,
    RATE_HEIGHT = 200,
    LATENCY_HEIGHT = 240,
    USE_HEIGHT = 110,
    FOOT = 58,
    POINTS_MAX = 400, /* beyond it, neighbouring seconds are drawn as one point */
    TEXT_BYTES = 400,
    FINE_DECADES_MAX = 3, /* with more, the fine lines are too many */
};

#define LETTER         6.8                   /* about as wide as a letter is */
#define LATENCY_NS_MIN 1000.0                /* a decade begins here at the least: 1 us */
#define REST_NS_MIN    ((uint64_t)250000000) /* a shorter rest of a second is no rate */

/* Seconds as they are drawn: one, or several neighbours of a long run. */
struct point {
    double begin_s, end_s;
    double sent, delivered; /* a second */
    double p50_ns, p99_ns, max_ns;
    bool has_latency, has_target, is_short;
    double cores, resident_bytes;
};

struct points {
    struct point *items;
    uint32_t count;
    double end_s;
    bool has_target;
};

/* One panel: where it lies, and what its lower and its upper edge stand for. */
struct panel {
    double top, height;
    double low, high;
    bool is_log;
};

/* ---- the points ---------------------------------------------------------------------------- */

static void add_cells(struct histogram *latency, const struct series_second *second)
{
    for (uint32_t k = 0; k < second->cell_count; k++) {
        (void)histogram_add_cell(latency, second->cells[k]);
    }
}

/* Seconds first to end - 1 as one point; its latency is that of all messages in them. */
static struct point point_of(const struct series *series, uint32_t first, uint32_t end,
                             double begin_s, struct histogram *scratch)
{
    struct point point = {.begin_s = begin_s};
    uint64_t length_ns = 0;
    histogram_clear(scratch);
    for (uint32_t i = first; i < end; i++) {
        const struct series_second *second = series_second(series, i);
        length_ns += second->length_ns;
        point.sent += (double)second->sent_count;
        point.delivered += (double)second->delivered_count;
        point.max_ns = fmax(point.max_ns, (double)second->max_ns);
        point.p50_ns = fmax(point.p50_ns, (double)second->p50_ns);
        point.p99_ns = fmax(point.p99_ns, (double)second->p99_ns);
        point.has_latency |= second->delivered_count > 0;
        if (second->has_target) {
            point.has_target = true;
            point.cores = fmax(point.cores, second->broker_cores);
            point.resident_bytes = fmax(point.resident_bytes, (double)second->resident_bytes);
        }
        if (end - first > 1) {
            add_cells(scratch, second);
        }
    }
    if (scratch->count > 0) { /* else of one second, or without cells: the worst of them */
        point.p50_ns = (double)histogram_quantile(scratch, 0.5);
        point.p99_ns = (double)histogram_quantile(scratch, 0.99);
    }
    double length_s = length_ns == 0 ? 1e-9 : (double)length_ns / 1e9;
    point.is_short = length_ns < REST_NS_MIN && first > 0;
    point.end_s = begin_s + length_s;
    point.sent /= length_s;
    point.delivered /= length_s;
    return point;
}

/* The caller frees out->items. */
static enum err points_of(const struct series *series, struct points *out)
{
    uint32_t seconds = series_count(series), step = (seconds + POINTS_MAX - 1) / POINTS_MAX;
    if (seconds == 0) {
        return ERR_NOT_FOUND;
    }
    struct histogram *scratch = malloc(sizeof(*scratch));
    *out = (struct points){.items = calloc(seconds / step + 1, sizeof(out->items[0]))};
    if (scratch == NULL || out->items == NULL) {
        free(scratch);
        free(out->items);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < seconds; i += step) {
        uint32_t end = i + step < seconds ? i + step : seconds;
        struct point point = point_of(series, i, end, out->end_s, scratch);
        out->items[out->count++] = point;
        out->end_s = point.end_s;
        out->has_target |= point.has_target;
    }
    free(scratch);
    return OK;
}

/* ---- scales -------------------------------------------------------------------------------- */

static double x_of(const struct points *points, double second)
{
    return LEFT + (RIGHT - LEFT) * second / points->end_s;
}

static double y_of(const struct panel *panel, double value)
{
    double part;
    if (panel->is_log) {
        double bounded = fmin(fmax(value, panel->low), panel->high);
        part = (log10(bounded) - log10(panel->low)) / (log10(panel->high) - log10(panel->low));
    } else {
        part = (value - panel->low) / (panel->high - panel->low);
    }
    return panel->top + panel->height * (1 - fmin(fmax(part, 0), 1));
}

/* 1, 2, 2.5 or 5 times a power of ten: about count steps up to high. */
static double step_of(double high, uint32_t count)
{
    static const double nice[] = {1, 2, 2.5, 5, 10};
    double rough = high / count, power = pow(10, floor(log10(rough)));
    for (uint32_t i = 0; i < sizeof(nice) / sizeof(nice[0]); i++) {
        if (nice[i] * power >= rough * 0.999) {
            return nice[i] * power;
        }
    }
    return rough;
}

static struct panel linear_panel(double top, double height, double high)
{
    double step = step_of(high > 0 ? high * 1.04 : 1, 4);
    return (struct panel){top, height, 0, ceil((high > 0 ? high * 1.02 : 1) / step) * step, false};
}

/* From the decade of the least median to the one above the greatest maximum. */
static struct panel latency_panel(double top, const struct points *points)
{
    double low = INFINITY, high = LATENCY_NS_MIN;
    for (uint32_t i = 0; i < points->count; i++) {
        if (points->items[i].has_latency) {
            low = fmin(low, points->items[i].p50_ns);
            high = fmax(high, points->items[i].max_ns);
        }
    }
    low = isinf(low) ? LATENCY_NS_MIN : fmax(low, LATENCY_NS_MIN);
    low = pow(10, floor(log10(low)));
    high = pow(10, ceil(log10(high)));
    return (struct panel){top, LATENCY_HEIGHT, low, high > low ? high : low * 10, true};
}

/* ---- drawing ------------------------------------------------------------------------------- */

typedef double value_of(const struct point *point); /* NAN: a gap */

/* clang-format off */
static double get_delivered(const struct point *p) { return p->is_short ? (double)NAN : p->delivered; }
static double get_sent(const struct point *p)      { return p->is_short ? (double)NAN : p->sent; }
static double get_p50(const struct point *p)       { return p->has_latency ? p->p50_ns : (double)NAN; }
static double get_p99(const struct point *p)       { return p->has_latency ? p->p99_ns : (double)NAN; }
static double get_max(const struct point *p)       { return p->has_latency ? p->max_ns : (double)NAN; }
static double get_cores(const struct point *p)     { return p->has_target && !p->is_short ? 100 * p->cores : (double)NAN; }
static double get_resident(const struct point *p)  { return p->has_target ? p->resident_bytes / 1048576 : (double)NAN; }
/* clang-format on */

static double greatest(const struct points *points, value_of *get)
{
    double high = 0;
    for (uint32_t i = 0; i < points->count; i++) {
        double value = get(&points->items[i]);
        high = isnan(value) ? high : fmax(high, value);
    }
    return high;
}

/* A step per point, as wide as the time it stands for; gaps where nothing is known. */
static void draw_line(struct page *page, const struct points *points, const struct panel *panel,
                      value_of *get, const char *class)
{
    bool is_down = false; /* the pen */
    page_add(page, "<path class=\"line %s\" d=\"", class);
    for (uint32_t i = 0; i < points->count; i++) {
        const struct point *point = &points->items[i];
        double value = get(point);
        if (isnan(value)) {
            is_down = false;
            continue;
        }
        if (is_down) {
            page_add(page, "V%.1f", y_of(panel, value));
        } else {
            page_add(page, "M%.1f %.1f", x_of(points, point->begin_s), y_of(panel, value));
        }
        page_add(page, "H%.1f", x_of(points, point->end_s));
        is_down = true;
    }
    page_add(page, "\"/>\n");
}

/* The area below such a line, down to the axis; a gap is none. */
static void draw_area(struct page *page, const struct points *points, const struct panel *panel,
                      value_of *get, const char *class)
{
    double floor_y = panel->top + panel->height;
    page_add(page, "<path class=\"area %s\" d=\"M%d %.1f", class, LEFT, floor_y);
    for (uint32_t i = 0; i < points->count; i++) {
        double value = get(&points->items[i]);
        page_add(page, "V%.1fH%.1f", isnan(value) ? floor_y : y_of(panel, value),
                 x_of(points, points->items[i].end_s));
    }
    page_add(page, "V%.1fZ\"/>\n", floor_y);
}

/* A label of the left or, when is_right, of the right axis, with its line across the panel. */
static void draw_tick(struct page *page, double y, const char *label, bool is_right)
{
    if (!is_right) {
        page_add(page, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", LEFT, y, RIGHT);
    }
    page_add(page, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n",
             is_right ? RIGHT + 7 : LEFT - 7, y + 4, is_right ? "start" : "end", label);
}

static void draw_linear_ticks(struct page *page, const struct panel *panel, const char *unit,
                              bool is_right)
{
    char number[WORDS_BYTES], label[WORDS_BYTES + 8];
    double step = step_of(panel->high, 4);
    for (uint32_t i = 0; i * step <= panel->high * 1.0001; i++) {
        snprintf(label, sizeof(label), "%s%s", words_short(i * step, number), unit);
        draw_tick(page, y_of(panel, i * step), label, is_right);
    }
}

/* "100 us": of a power of ten. */
static const char *decade_label(double ns, char out[WORDS_BYTES])
{
    static const struct {
        double ns;
        const char *unit;
    } units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}, {1, "ns"}};
    uint32_t i = 0;
    while (units[i].ns > ns * 1.0001) {
        i++;
    }
    snprintf(out, WORDS_BYTES, "%.0f %s", ns / units[i].ns, units[i].unit);
    return out;
}

static void draw_log_ticks(struct page *page, const struct panel *panel)
{
    char label[WORDS_BYTES];
    bool is_fine = log10(panel->high / panel->low) < FINE_DECADES_MAX + 0.5;
    for (double decade = panel->low; decade <= panel->high * 1.0001; decade *= 10) {
        draw_tick(page, y_of(panel, decade), decade_label(decade, label), false);
        for (uint32_t i = 2; is_fine && i < 10 && decade * i < panel->high; i++) {
            page_add(page, "<path class=\"fine\" d=\"M%d %.1fH%d\"/>\n", LEFT,
                     y_of(panel, decade * i), RIGHT);
        }
    }
}

/* What the colours mean, above the panel on the right; one entry per line of it. */
struct legend {
    const char *class, *text;
};

static void draw_heading(struct page *page, const struct panel *panel, const char *text,
                         const struct legend *legends, uint32_t count)
{
    double x = RIGHT, y = panel->top - 9;
    page_add(page, "<text class=\"heading\" x=\"%d\" y=\"%.1f\">%s</text>\n", LEFT, y, text);
    for (uint32_t i = count; i-- > 0;) {
        page_add(page,
                 "<text class=\"legend\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", x,
                 y, legends[i].text);
        x -= LETTER * (double)strlen(legends[i].text) + 28;
        page_add(page, "<path class=\"line %s\" d=\"M%.1f %.1fh18\"/>\n", legends[i].class, x,
                 y - 4);
        x -= 18;
    }
}

/* Warm-up and drain: what the figures of the report are not of. */
static void draw_shade(struct page *page, const struct points *points, double begin_s, double end_s,
                       double top, double bottom)
{
    double left = x_of(points, begin_s), right = x_of(points, end_s);
    if (right - left >= 1) {
        page_add(page,
                 "<rect class=\"shade\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                 left, top, right - left, bottom - top);
    }
}

static void draw_time(struct page *page, const struct points *points, double bottom, bool is_window)
{
    char label[WORDS_BYTES];
    double step = fmax(step_of(points->end_s, 10), points->end_s < 3 ? 0.5 : 1);
    for (uint32_t i = 0; i * step <= points->end_s * 1.0001; i++) {
        page_add(page,
                 "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>"
                 "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
                 x_of(points, i * step), bottom, x_of(points, i * step), bottom + 18,
                 words_short(i * step, label));
    }
    page_add(page,
             "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"middle\">"
             "seconds since sending began%s</text>\n",
             (LEFT + RIGHT) / 2, bottom + 38,
             is_window ? "; shaded: outside the measured window" : "");
}

static void draw_frame(struct page *page, const struct panel *panel)
{
    page_add(page, "<path class=\"axis\" d=\"M%d %.1fV%.1fH%d\"/>\n", LEFT, panel->top,
             panel->top + panel->height, RIGHT);
}

static void draw_rate(struct page *page, const struct points *points, const struct panel *panel,
                      bool is_of_connects)
{
    static const struct legend messages[] = {{"sent", "sent"}, {"delivered", "delivered"}};
    static const struct legend connects[] = {{"sent", "begun"}, {"delivered", "welcomed"}};
    draw_linear_ticks(page, panel, "", false);
    draw_area(page, points, panel, get_delivered, "delivered");
    draw_line(page, points, panel, get_sent, "sent");
    draw_line(page, points, panel, get_delivered, "delivered");
    draw_frame(page, panel);
    draw_heading(page, panel, is_of_connects ? "connects per second" : "messages per second",
                 is_of_connects ? connects : messages, 2);
}

static void draw_latency(struct page *page, const struct points *points, const struct panel *panel)
{
    static const struct legend legends[] = {{"p50", "p50"}, {"p99", "p99"}, {"max", "max"}};
    draw_log_ticks(page, panel);
    draw_line(page, points, panel, get_max, "max");
    draw_line(page, points, panel, get_p99, "p99");
    draw_line(page, points, panel, get_p50, "p50");
    draw_frame(page, panel);
    draw_heading(page, panel, "latency, logarithmic", legends, 3);
}

static void draw_use(struct page *page, const struct points *points, const struct panel *panel)
{
    static const struct legend legends[] = {{"cpu", "CPU (left)"},
                                            {"memory", "memory, MiB (right)"}};
    struct panel memory = linear_panel(panel->top, panel->height, greatest(points, get_resident));
    draw_linear_ticks(page, panel, " %", false);
    draw_linear_ticks(page, &memory, "", true);
    draw_line(page, points, panel, get_cores, "cpu");
    draw_line(page, points, &memory, get_resident, "memory");
    draw_frame(page, panel);
    draw_heading(page, panel, "the broker: CPU in % of a core", legends, 2);
}

/* "fanout: 1 publisher, 500 subscribers, QoS 0, 64 bytes, 1,000/s" and, smaller, on what. */
static void draw_title(struct page *page, const struct report *report)
{
    char text[TEXT_BYTES], number[WORDS_BYTES];
    const struct environment *environment = report->environment;
    size_t used = (size_t)snprintf(text, sizeof(text), "%.60s: ", report->scenario);
    if (report->subscriber_count > 0) {
        used += (size_t)snprintf(text + used, sizeof(text) - used,
                                 "%u to %u clients, QoS %u, %u bytes", report->publisher_count,
                                 report->subscriber_count, report->qos, report->payload_bytes);
    } else {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%u clients",
                                 report->publisher_count);
    }
    if (report->rate > 0) {
        snprintf(text + used, sizeof(text) - used, ", %s/s", words_number(report->rate, number));
    } else if (report->subscriber_count > 0) {
        snprintf(text + used, sizeof(text) - used, ", window %u", report->window);
    }
    page_add(page, "<text class=\"title\" x=\"%d\" y=\"22\">", LEFT);
    page_add_text(page, text);
    page_add(page, "</text>\n");
    if (environment == NULL) {
        return;
    }
    snprintf(text, sizeof(text), "%.80s%s%.80s · %.40s · %.80s", environment->broker_process,
             environment->broker_process[0] == '\0' ? "" : " at ", environment->broker_address,
             environment->time, environment->generator);
    page_add(page, "<text class=\"tick\" x=\"%d\" y=\"39\">", LEFT);
    page_add_text(page, text);
    page_add(page, "</text>\n");
}

static const char style[] =
    "<style>\n"
    ".ground{fill:#fff}.shade{fill:#000;opacity:.05}\n"
    "text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#24292f}\n"
    ".title{font-size:16px;font-weight:600}.heading{font-weight:600}.tick{fill:#57606a}\n"
    ".grid{stroke:#d0d7de}.fine{stroke:#d0d7de;opacity:.45}.axis{stroke:#8c959f;fill:none}\n"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\n"
    ".area{opacity:.14;stroke:none}\n"
    ".line.delivered,.line.p50{stroke:#0969da}.area.delivered{fill:#0969da}\n"
    ".line.sent{stroke:#8c959f;stroke-width:1.5}\n"
    ".line.p99{stroke:#bc6c00}.line.max{stroke:#cf222e;stroke-width:1.5}\n"
    ".line.cpu{stroke:#8250df}.line.memory{stroke:#1a7f37}\n"
    "@media (prefers-color-scheme:dark){\n"
    ".ground{fill:#0d1117}.shade{fill:#fff;opacity:.08}text{fill:#e6edf3}.tick{fill:#9198a1}\n"
    ".grid,.fine{stroke:#30363d}.axis{stroke:#6e7681}\n"
    ".line.delivered,.line.p50{stroke:#58a6ff}.area.delivered{fill:#58a6ff}\n"
    ".line.p99{stroke:#e3a143}.line.max{stroke:#ff7b72}\n"
    ".line.cpu{stroke:#bc8cff}.line.memory{stroke:#56d364}}\n"
    "</style>\n";

static void draw(struct page *page, const struct report *report, const struct points *points)
{
    struct panel rate = linear_panel(
        TOP + 20, RATE_HEIGHT, fmax(greatest(points, get_delivered), greatest(points, get_sent)));
    struct panel latency = latency_panel(rate.top + rate.height + PANEL_GAP, points);
    struct panel use = linear_panel(latency.top + latency.height + PANEL_GAP, USE_HEIGHT,
                                    greatest(points, get_cores));
    const struct panel *last = points->has_target ? &use : &latency;
    double bottom = last->top + last->height;

    page_add(page,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" "
             "height=\"%.0f\" role=\"img\">\n",
             WIDTH, bottom + FOOT, WIDTH, bottom + FOOT);
    page_add(page, "%s<rect class=\"ground\" width=\"100%%\" height=\"100%%\"/>\n", style);
    draw_title(page, report);
    double window_begin_s = (double)series_window_begin_ns(report->series) / 1e9;
    double window_end_s = (double)series_window_end_ns(report->series) / 1e9;
    if (window_end_s > 0) {
        draw_shade(page, points, 0, fmin(window_begin_s, points->end_s), rate.top, bottom);
        draw_shade(page, points, fmin(window_end_s, points->end_s), points->end_s, rate.top,
                   bottom);
    }
    draw_rate(page, points, &rate, report->subscriber_count == 0);
    draw_latency(page, points, &latency);
    if (points->has_target) {
        draw_use(page, points, &use);
    }
    draw_time(page, points, bottom, window_end_s > 0);
    page_add(page, "</svg>\n");
}

enum err plot_svg(const struct report *report, struct buf *out)
{
    struct page page = {.out = out};
    struct points points;
    TRY(points_of(report->series, &points));
    draw(&page, report, &points);
    free(points.items);
    return page.err;
}
