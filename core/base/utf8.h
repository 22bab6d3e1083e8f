/*
 * utf8: is this an MQTT UTF-8 encoded string?
 *
 * Floor: base; pure.
 */
#ifndef TERN_BASE_UTF8_H
#define TERN_BASE_UTF8_H

#include <stdbool.h>

#include "core/base/slice.h"

/*
 * Well-formed UTF-8 by RFC 3629, no surrogates, no U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].
 * Control characters and non-characters are allowed (1.5.4 says MAY reject). Fast over ASCII.
 */
bool utf8_is_valid(struct slice text);

#endif
