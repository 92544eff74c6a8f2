/*
 * How ranks are joined, and so how long an all-reduce of any size takes among any
 * number of them. Pure arithmetic: the forecast's ground, also where nothing was
 * measured.
 *
 * With W ranks on N nodes of at most `per_node`, S bytes, a the time of a hop within a
 * node, A that of one between nodes:
 *
 *   ring  2·((W − N)·a + (N − 1)·A) + bytes(S)
 *   tree  2·((W ÷ N − 1)·a + ⌈log2 N⌉·A) + bytes(S): a chain within each node, a tree
 *         between them
 *
 * Among W0 ranks whose curve T0 was measured, each of the 2·(W0 − 1) steps of a ring
 * moves S ÷ W0 bytes; more ranks take more such steps:
 *
 *   a        = T0(smallest) ÷ (2·(W0 − 1))
 *   bytes(S) = (W − 1) ÷ (W0 − 1) · (T0(S·W0 ÷ W) − T0(smallest))
 *
 * Without a curve bytes(S) = 2·(W − 1) ÷ W · S ÷ link. On several nodes it is at least
 * 2·(W − 1) ÷ W · S ÷ network, whichever of the two is slower.
 */
#ifndef REPORTS_FABRIC_H
#define REPORTS_FABRIC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct fabric_point {
    double bytes, ms;
};

/* A measured curve; ascending by bytes, times of at least a positive number. */
struct fabric_curve {
    struct fabric_point *points; /* owned */
    size_t count;
    int ranks; /* that it was measured among, 2 or more */
};

/*
 * From a record's `allreduce`, of `ranks` ranks. False, `c` zeroed, where that holds no
 * usable point: what is no point is passed over. fabric_curve_finish() takes a zeroed
 * one.
 */
bool fabric_curve_read(struct fabric_curve *c, const json_t *allreduce, int ranks);
void fabric_curve_finish(struct fabric_curve *c);

/*
 * The curve at `bytes`: between two points a straight line of logarithms, below the
 * first its time, beyond the last its bandwidth.
 */
double fabric_curve_ms(const struct fabric_curve *c, double bytes);

struct fabric {
    const struct fabric_curve *curve; /* NULL: link and hop_ms say it all */
    double link_bytes_per_s;          /* of a rank, within a node; without a curve */
    double hop_ms;                    /* within a node; without a curve */
    double network_bytes_per_s;       /* of a node, all its adapters; NAN unknown */
    double network_hop_ms;
    int per_node; /* ranks of a node, at least 1 */
};

enum fabric_algorithm { FABRIC_RING, FABRIC_TREE };

/* How many nodes that many ranks fill. */
int fabric_nodes(const struct fabric *f, int ranks);

/* What the hops of one all-reduce take, whatever its size. */
double fabric_hops_ms(
        const struct fabric *f, enum fabric_algorithm algorithm, int ranks);

/*
 * One all-reduce; 0 for one rank. NAN where it needs several nodes and the network is
 * not known. A reduce-scatter, or an all-gather, is half of it.
 */
double fabric_all_reduce_ms(const struct fabric *f, enum fabric_algorithm algorithm,
        int ranks, double bytes);

#endif
