/* vector_widths.h - the file LOOPS, compiled for each width of vector (base/vector.h).
 *
 * It is included several times, and so is LOOPS: neither has an include guard. LOOPS finds LANES values of float32 a
 * vector, NAME(name) for the names (name_4, name_8, name_16), and ATTRIBUTE for the instruction set. */
#define NAME(name) NAME_OF_WIDTH(name, LANES)
#define NAME_OF_WIDTH(name, lanes) NAME_JOINED(name, lanes)
#define NAME_JOINED(name, lanes) name##_##lanes

#define LANES 4 /* SSE2, NEON */
#define ATTRIBUTE
#include LOOPS
#undef LANES
#undef ATTRIBUTE

#if defined __x86_64__
#define LANES 8
#define ATTRIBUTE __attribute__((target("avx2,fma,f16c")))
#include LOOPS
#undef LANES
#undef ATTRIBUTE

#define LANES 16
#define ATTRIBUTE __attribute__((target("avx512f,avx512bw,avx512dq")))
#include LOOPS
#undef LANES
#undef ATTRIBUTE
#endif

#undef LOOPS
#undef NAME
#undef NAME_OF_WIDTH
#undef NAME_JOINED
