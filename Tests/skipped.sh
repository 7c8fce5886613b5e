#!/bin/sh
# Prints what should have run and did not, of a log of Tests/run.sh: skipped.sh LOG. Of the kernel tests everything that was skipped,
# whether Swift Testing says so or the tests; of the others, what they themselves say. What a host refuses altogether is no skip, nor what a
# mirror does not have: .ci/run tells that by itself.
{
  sed '/^== kernel tests ==$/,$d' "$1" | grep '^SKIPPED'
  sed -n '/^== kernel tests ==$/,$p' "$1" | grep -E '^SKIPPED|(Test|Suite) [^ ]+ (skipped|was cancelled)'
} | grep -v -e 'REFUSED by this host' -e 'NOT TO BE HAD'
