#!/bin/sh -e
# Each greeting is counted.
first=$(dist/greet Ann)
second=$(dist/greet Bob)
echo "$first"
echo "$second"
case $second in
  "Hello Bob"*"greeting number 2"*) echo "ok" ;;
  *) echo "::error file=examples/project/greet.in::greetings are not counted" && exit 1 ;;
esac
