# Of what `kiln --experimental-dump-help` prints (swift-argument-parser's ToolInfoV0, from which --help is made, too): the manual page of one command.
# Arguments: $page, its name (kiln-trace-redis); $date (2026-11-30); $version. Output: man(7), which groff and mandoc read. Hidden options and
# hidden subcommands are left out, and the library's own `help`.
# What the library's own generator of manual pages leaves out is in findings/swift-argument-parser-manual-without-defaults.sh.

# Text of a definition as text of a page: no character of it is a request of the formatter. A hyphen is the character of the keyboard, so that what is
# copied from a page can be pasted into a shell.
def escaped: gsub("\\\\"; "\\e") | gsub("-"; "\\-") | sub("^(?<first>[.'])"; "\\&\(.first)");
def bold: "\\fB\(escaped)\\fP";
def italic: "\\fI\(escaped)\\fP";

# Options and `quoted commands` stand out in running text.
def prose:
  escaped
  | gsub("(?<before>^|[ (])(?<option>\\\\-\\\\-[a-z](?:[a-z0-9]|\\\\-)*)"; "\(.before)\\fB\(.option)\\fP")
  | gsub("`(?<quoted>[^`]*)`"; "\\fB\(.quoted)\\fP");

# A discussion's lines: those that are indented are examples, the others paragraphs, which begin with the request $paragraph.
def paragraphs($paragraph):
  reduce (split("\n")[] | select(. != "")) as $line ({lines: [], example: false};
    if $line | startswith("  ") then
      .lines += (if .example then [] else [".sp", ".RS 4", ".nf"] end) + [$line[2:] | escaped] | .example = true
    else
      .lines += (if .example then [".fi", ".RE"] else [] end) + [$paragraph, ($line | prose)] | .example = false
    end)
  | (.lines + if .example then [".fi", ".RE"] else [] end)[];

def shown: map(select(.shouldDisplay));
def arguments: .arguments // [] | shown;
def subcommands: .subcommands // [] | shown | map(select(.commandName != "help"));
def full_name: (.superCommands // []) + [.commandName] | join(" ");
def page_name: full_name | gsub(" "; "-");
def reference: "\(page_name | bold)(1)";
def name: if .kind == "short" then "-\(.name)" elif .kind == "long" then "--\(.name)" else "-\(.name)" end;
def value: .valueName | italic;

# Values that have a description are listed with it.
def described: .allValueDescriptions as $descriptions | .allValues // [] | map(select($descriptions[.]?));

# What --help has in brackets behind an option: the other values, and the default.
def remarks:
  [ (.allValues // [] | select(. != [])) - described | select(. != []) | "values: \(join(", "))" ]
  + [ .defaultValue // empty | "default: \(.)" ]
  | select(. != []) | "(\(join("; ")))" | escaped;

# As in --help: short names first.
def item:
  ".TP",
  if .kind == "positional" then value
  else ([.names | (map(select(.kind == "short")) + map(select(.kind != "short")))[] | name | bold] | join(", "))
    + if .kind == "option" then " \(value)" else "" end
  end,
  (.abstract // empty | prose),
  remarks,
  (.discussion // empty | paragraphs(".IP")),
  (.allValueDescriptions as $descriptions | described[] | ".IP", "\(bold): \($descriptions[.] | prose)");

def synopsis_argument:
  ((if .kind == "option" then "\(.names[-1] | name | bold) " else "" end) + value + if .isRepeating then " ..." else "" end) as $shown
  | if .parsingStrategy == "postTerminator" then "[\("--" | bold) \($shown)]" elif .isOptional then "[\($shown)]" else $shown end;

def synopsis:
  (full_name | bold),
  (arguments
    | (map(select(.kind != "positional" and .isOptional)) | select(. != []) | "[\("options" | italic)]"),
      (map(select(.kind == "option" and (.isOptional | not)))[] | synopsis_argument)),
  (subcommands | select(. != []) | "\("subcommand" | italic) ..."),
  (arguments[] | select(.kind == "positional") | synopsis_argument);

def exit_status:
  ".TP", "0", "What was asked for is done.",
  ".TP", "1", "It could not be done; standard error says why.",
  ".TP", "64", "The arguments make no sense.",
  (select(any(arguments[]; .parsingStrategy == "postTerminator" and .valueName == "command"))
    | ".PP", ("If the command behind -- ends the session, its status is that of kiln, as in a shell: 128 plus the number of a signal, 127 if the program does not exist, 126 if it can't be executed." | prose));

.command
| [recurse(.subcommands[]? | select(.shouldDisplay))] as $all
| ($all[] | select(page_name == $page))
| arguments as $arguments
| ".\\\" Made from the definitions of --help: packaging/manual.jq.",
  ".TH \($page | ascii_upcase | escaped) 1 \($date) \"kiln \($version | escaped)\" \"User Commands\"",
  # Lines neither divided within words nor stretched: names of options stay whole.
  ".nh",
  ".ad l",
  ".SH NAME",
  # Without the capital and the full stop of a sentence, as in other pages.
  "\($page | escaped) \\- \(.abstract | sub("\\.$"; "") | sub("^(?<first>[A-Z])(?=[a-z])"; .first | ascii_downcase) | escaped)",
  ".SH SYNOPSIS",
  synopsis,
  ".SH DESCRIPTION",
  (.abstract | prose),
  (.discussion // empty | paragraphs(".PP")),
  (subcommands | select(. != []) | ".SH SUBCOMMANDS", (.[] | ".TP", reference, (.abstract | prose))),
  ($arguments | map(select(.kind == "positional")) | select(. != []) | ".SH ARGUMENTS", (.[] | item)),
  ($arguments | map(select(.kind != "positional"))
    | ".SH OPTIONS", (map(select(.sectionTitle | not))[] | item),
      (map(select(.sectionTitle)) | group_by(.sectionTitle)[] | ".SS \(.[0].sectionTitle | escaped)", (.[] | item))),
  ".SH EXIT STATUS",
  exit_status,
  ".SH SEE ALSO",
  # The commands that this one is a subcommand of.
  ([$all[] | select(page_name as $other | $page | startswith("\($other)-")) | reference] | select(. != []) | join(",\n"), ".PP"),
  ("The documentation's usage.md explains every command, the files of a session and the fields in them; glossary.md explains the terms." | prose)
