#!/bin/sh -e
greeting=$(printf 'GET greeting\r\n' | nc redis 6379 | tail -n 1 | tr -d '\r')
echo "$greeting from release $1" | tee notes.txt
