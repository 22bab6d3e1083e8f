/*
 * list: intrusive doubly linked lists.
 *
 * Floor:  base.
 * Memory: a link lives inside the object it links; a list owns nothing.
 *
 * A link that is in no list points to itself, so list_remove() is safe twice.
 */
#ifndef TERN_BASE_LIST_H
#define TERN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_push_back(struct list *list, struct list *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

static inline void list_push_front(struct list *list, struct list *link)
{
    list_push_back(list->next, link);
}

static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* The first link, removed; NULL when the list is empty. */
static inline struct list *list_pop_front(struct list *list)
{
    struct list *link = list->next;
    if (link == list) {
        return NULL;
    }
    list_remove(link);
    return link;
}

/* Move everything of source to the end of target; source is empty afterwards. */
static inline void list_append(struct list *target, struct list *source)
{
    if (list_is_empty(source)) {
        return;
    }
    source->next->prev = target->prev;
    target->prev->next = source->next;
    source->prev->next = target;
    target->prev = source->prev;
    list_init(source);
}

/* LIST_EACH(&list, link) { ... }: link is a struct list *; the body may not remove it. */
#define LIST_EACH(head, link) \
    for (struct list *link = (head)->next; (link) != (head); (link) = (link)->next)

/* The body may remove link. */
#define LIST_EACH_SAFE(head, link)                                                      \
    for (struct list *link = (head)->next, *link##_next = link->next; (link) != (head); \
         (link) = link##_next, link##_next = (link)->next)

#endif
