#!/usr/bin/env bash
# clone-rate holds inside a region, too, if that is larger than a batch, and even
# larger than what may be fetched in ten seconds.

exec "${srcdir:-.}/test-rate.sh" \
     "region4M   1048576  clone-region-size=4M clone-batch=256K" \
     "region64M   524288  clone-region-size=64M clone-batch=64K"
