#!/bin/sh -e
echo "notes of release $1" | tee examples/project/notes.txt
echo "### Release $1" >> "$GITHUB_STEP_SUMMARY"
