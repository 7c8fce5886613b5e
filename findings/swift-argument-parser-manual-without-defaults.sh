#!/bin/sh
# swift-argument-parser 1.8.2: its generate-manual leaves default and allowed values out of manual pages, and lists subcommands that are hidden.
#
# Expected: what --help says: `(values: red, blue; default: red)` behind --colour, and no word of a subcommand with shouldDisplay: false.
#   Both are in --experimental-dump-help (allValues, defaultValue, shouldDisplay), from which the pages are made.
# Seen: --help does so; the manual has neither `red` nor `blue`, and has the hidden subcommand.
#
# Why it matters: kiln's pages have to say what --help says, so packaging/manual.jq makes them. It can go where the library's pages do.
# Ends with 1 where the behaviour is another one, with 2 where it could not run. Takes half a minute.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git -c advice.detachedHead=false clone -q --depth 1 --branch 1.8.2 https://github.com/apple/swift-argument-parser "$folder/library" || exit 2
cd "$folder/library"
cat >Examples/roll/main.swift <<'END'
import ArgumentParser

struct Shown: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Is shown.")
    enum Colour: String, CaseIterable, ExpressibleByArgument { case red, blue }
    @Option(help: "The colour.") var colour = Colour.red
}
struct Concealed: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Is hidden.", shouldDisplay: false)
}
struct Roll: ParsableCommand {
    static let configuration = CommandConfiguration(subcommands: [Shown.self, Concealed.self])
}
Roll.main()
END
for product in roll generate-manual; do swift build --product $product >log 2>&1 || { tail -n 20 log; exit 2; }; done
.build/debug/roll help shown | grep -- --colour
.build/debug/roll --help | grep -A3 SUBCOMMANDS
.build/debug/generate-manual .build/debug/roll --output-directory - | tee manual | sed -n '/Sh DESCRIPTION/,$p'
.build/debug/roll help shown | grep -q 'default: red' && ! .build/debug/roll --help | grep -q concealed &&
  grep -q 'colour' manual && ! grep -qE 'red|blue' manual && grep -q 'concealed' manual
