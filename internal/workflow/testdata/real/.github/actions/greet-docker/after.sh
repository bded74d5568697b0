#!/bin/sh
echo after
