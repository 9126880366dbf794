/* vector.h - the widths of vectors for which loops are compiled (base/vector_widths.h), and the choice among them. */
#ifndef QK_BASE_VECTOR_H
#define QK_BASE_VECTOR_H

/* X(n) for each width of n float32 values that the compiler can make, the narrowest first. */
#if defined __x86_64__
#define QK_VECTOR_WIDTHS(X) X(4) X(8) X(16)
#else
#define QK_VECTOR_WIDTHS(X) X(4)
#endif

/* The place in that list of the widest vectors that this processor has. */
int qk_vector_width(void);

#endif
