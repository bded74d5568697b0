#!/bin/sh
echo "greeting=$1$PUNCTUATION $2" >> "$GITHUB_OUTPUT"
