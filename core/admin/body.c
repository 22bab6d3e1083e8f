#include "core/admin/body.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 1024, ADD_BYTES_MAX = 1024 };

void body_free(struct body *body)
{
    free(body->data);
    *body = (struct body){0};
}

static enum err room_make(struct body *body, size_t count)
{
    if (body->err != OK) {
        return body->err;
    }
    if (count > BODY_BYTES_MAX - body->count) {
        return ERR_TOO_LARGE;
    }
    size_t capacity = body->capacity == 0 ? CAPACITY_MIN : body->capacity;
    while (capacity < body->count + count) {
        capacity *= 2;
    }
    if (capacity != body->capacity) {
        uint8_t *data = realloc(body->data, capacity);
        if (data == NULL) {
            return ERR_NOMEM;
        }
        body->data = data;
        body->capacity = capacity;
    }
    return OK;
}

void body_add_slice(struct body *body, struct slice bytes)
{
    body->err = room_make(body, bytes.count);
    if (body->err == OK && bytes.count > 0) {
        memcpy(body->data + body->count, bytes.data, bytes.count);
        body->count += bytes.count;
    }
}

void body_add(struct body *body, const char *format, ...)
{
    char text[ADD_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (count < 0 || (size_t)count >= sizeof(text)) {
        body->err = body->err == OK ? ERR_TOO_LARGE : body->err;
        return;
    }
    body_add_slice(body, slice_of(text, (size_t)count));
}
