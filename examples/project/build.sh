#!/bin/sh -e
# build.sh VERSION STYLE: makes dist/greet.
mkdir -p dist
sed "s/@VERSION@/$1/; s/@STYLE@/$2/" greet.in >dist/greet
chmod +x dist/greet
echo "built greet $1 ($2)"
