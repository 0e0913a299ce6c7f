#!/usr/bin/env bash
# A reply that says it is complete but has not got all the data, or has got the
# same data twice instead, is an error: what was in the buffer before is served
# to nobody, and not kept.

exec "${srcdir:-.}/test-bad-replies.sh" short twice
