module github.com/gantry-ci/gantry

go 1.26
