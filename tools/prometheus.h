/* nbdclone: metrics, as the textfile collector of Prometheus' node_exporter reads
 * them.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The format wants all samples of a metric together, so they are collected first.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */

#ifndef NBDCLONE_PROMETHEUS_H
#define NBDCLONE_PROMETHEUS_H

#include <jansson.h>

struct prometheus {
  json_t *samples; /* an array of [name, status or null] */
};

/* What a server has said, NULL if it did not answer. */
extern void prometheus_add (struct prometheus *, const char *name,
                            json_t *status);

/* To stdout; frees what was added. */
extern void prometheus_print (struct prometheus *);

#endif /* NBDCLONE_PROMETHEUS_H */
