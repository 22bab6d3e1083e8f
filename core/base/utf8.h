/*
 * utf8: is this an MQTT UTF-8 encoded string?
 *
 * Floor: base; pure.
 */
#ifndef TERN_BASE_UTF8_H
#define TERN_BASE_UTF8_H

#include "core/base/slice.h"

#include <stdbool.h>

/*
 * Well-formed UTF-8 by RFC 3629, no surrogates, no U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].
 * Control characters and non-characters are allowed (1.5.4 says MAY reject). Fast over ASCII.
 */
bool utf8_is_valid(struct slice text);

/*
 * The first character of text, U+0000 included: its length in bytes, 1 to 4, and its code point.
 * 0: text is empty or does not begin with a well-formed character; code_point is not written.
 */
uint32_t utf8_first(struct slice text, uint32_t *code_point);

#endif
