// Tells `go` that imports below are of modules (".../v3"), also where it builds from Debian's source packages.
module pion

go 1.19
