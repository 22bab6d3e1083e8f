/*
 * assert: a broken belief about our own code ends the process, in release builds too.
 *
 * Floor:  base.
 *
 * No byte from a socket or a disk may trip an ASSERT; a wrong caller should. DASSERT is for walks
 * too slow to keep: it exists in builds with TERN_DEBUG only.
 */
#ifndef TERN_BASE_ASSERT_H
#define TERN_BASE_ASSERT_H

/* Print where and what to stderr, then abort(). */
_Noreturn void assert_failed(const char *condition, const char *file, int line);

#define ASSERT(condition) \
    (__builtin_expect(!(condition), 0) ? assert_failed(#condition, __FILE__, __LINE__) : (void)0)

#ifdef TERN_DEBUG
#define DASSERT(condition) ASSERT(condition)
#else
#define DASSERT(condition) ((void)sizeof(condition))
#endif

#endif
