/* batch.c - the cutting of a batch into parts. */
#include "forward/batch.h"

size_t qk_batch_cut(struct qk_sequence *sequence, size_t n, size_t from, size_t width, size_t positions,
    struct qk_batch *part, size_t *row)
{
    size_t end = from;
    *row = sequence[from].first;
    *part = (struct qk_batch){.sequence = &sequence[from], .positions = positions};
    for (; end < n && (end == from || (part->T + sequence[end].n) * width <= QK_PART_VALUES); end++) {
        part->T += sequence[end].n;
        sequence[end].first -= *row;
    }
    part->n = end - from;
    return end;
}

void qk_batch_put_back(struct qk_sequence *sequence, size_t from, size_t end, size_t row)
{
    for (size_t i = from; i < end; i++)
        sequence[i].first += row;
}
