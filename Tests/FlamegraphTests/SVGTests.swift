import Foundation
import TestSupport
import Testing
@testable import Flamegraph

/// Names that have broken pictures elsewhere.
let hostileNames: [[UInt8]] = [
    Array("</script><script>alert(1)</script>".utf8), Array("]]>".utf8), Array("\"onload=\"alert(1)".utf8),
    Array("' onclick='alert(1)".utf8), Array("<!-- --> <![CDATA[".utf8), Array("&amp;&lt;&#0;".utf8),
    Array("javascript:alert(1)".utf8), Array("\\u003cb\\u003e \\\\".utf8), Array("</metadata></svg>".utf8),
    Array("std::map<int, std::vector<char*>>::operator[](int const&)".utf8), Array("\u{202e}gnp.exe".utf8),
    Array("\u{fffe}\u{ffff}\u{85}\u{2028}".utf8), Array("関数 🔥 é".utf8), [0xff, 0xfe, 0xc0, 0x80], [0xed, 0xa0, 0x80],
    [0xf0, 0x9f], Array(0...9) + Array(11...31), [0x7f], Array("a b\tc".utf8), Array("__proto__".utf8),
]

func hostileStacks() -> FoldedStacks {
    var text: [UInt8] = []
    for (index, name) in hostileNames.enumerated() {
        text += Array("main;".utf8) + name + Array(";leaf\(index);".utf8) + name + Array("_[k] \(index + 1)\n".utf8)
    }
    return FoldedStacks(parsing: text)
}

func hostileOptions() -> FlamegraphOptions {
    let hostile = "</title><script>alert(1)</script> & \"'>]]>\u{1}"
    var options = FlamegraphOptions(title: hostile, subtitle: hostile, countName: hostile, notes: [hostile, "", " "])
    options.fontFamily = "x\" onload=\"alert(1)"
    return options
}

@Suite struct SVGTests {
    @Test func theSameInputGivesTheSameBytes() throws {
        let input = randomFolded(seed: 31, lines: 199)
        #expect(try drawn(FoldedStacks(parsing: input)) == drawn(FoldedStacks(parsing: input)))
    }

    @Test func anyBytesAreShownAsText() {
        #expect(displayString([0x61, 0xff, 0x01, 0x0a]) == "a\\xff\\x01\\x0a")
        #expect(displayString([0xed, 0xa0, 0x80]) == "\\xed\\xa0\\x80")
        #expect(displayString([0xe2, 0x82]) == "\\xe2\\x82")
        #expect(displayString(Array("é\u{202e}\u{ffff}\u{61c}\u{ad}".utf8)) == "é\\u{202e}\\u{ffff}\\u{61c}\\u{ad}")
    }

    @Test func nothingFromOutsideBecomesMarkup() throws {
        let svg = text(try drawn(hostileStacks(), hostileOptions()))
        #expect(svg.components(separatedBy: "<script").count == 2)
        #expect(svg.components(separatedBy: "]]>").count == 3)
        #expect(svg.components(separatedBy: "</metadata>").count == 2)
    }

    @Test func noElementHasEventHandlersOrStyleAttributes() throws {
        let svg = try drawn(hostileStacks(), hostileOptions())
        let directory = try TemporaryDirectory()
        let file = try directory.write(svg, as: "picture.svg").path
        let found = try xmllint(["--xpath", "count(//@*[starts-with(name(), 'on') or name() = 'style'])", file])
        #expect(found.status == 0)
        #expect(found.output == "0\n")
    }

    @Test func theViewerCanStandInCharacterData() {
        for bytes in [viewerScript, viewerStyle] {
            #expect(!text(bytes).contains("]]>"))
            #expect(!text(bytes).contains("</"))
            #expect(bytes.allSatisfy { $0 == 10 || $0 >= 32 })
        }
        #expect(!text(viewerScript).contains("innerHTML"))
    }

    @Test func nothingToDrawIsSaidInAnHonestPicture() throws {
        let svg = text(try drawn(folded("oops\n"), FlamegraphOptions(title: "empty")))
        #expect(svg.contains("Nothing to draw"))
        #expect(svg.contains("does not end in a number"))
        #expect(!svg.contains("<script"))
    }

    @Test func theFootSaysWhatIsHiddenAndWhatWasNotRead() throws {
        var options = FlamegraphOptions(notes: ["lost: nothing"])
        options.minWidth = 5
        let svg = text(try drawn(folded("a 97\nb 2\nc;d 1\nbad\n"), options))
        #expect(svg.contains("100 samples in 3 stacks · 1 of 4 frames drawn · 3 narrower than 5 % hidden; "))
        #expect(svg.contains("hidden; 3.00 % of all samples pass through hidden frames"))
        #expect(svg.contains("1 input line could not be read, the first at line 4: does not end in a number: bad"))
        #expect(svg.contains(">lost: nothing<"))
    }

    @Test func weightsBeyondTwoToThe53KeepTheirDigits() throws {
        #expect(text(try drawn(folded("a 9007199254740993\n"))).contains("1,1,\"0\",\"9007199254740993\",\"9007199254740993\""))
    }

    @Test func senselessOptionsAreBounded() throws {
        var options = FlamegraphOptions()
        options.width = -5
        options.rowHeight = 0
        options.fontSize = .nan
        options.fontWidth = 0
        options.minWidth = .nan
        _ = try drawn(folded("a;b 1\n"), options)
        options.fontSize = .infinity
        options.width = .max
        options.minWidth = .infinity
        _ = try drawn(folded("a;b 1\n"), options)
    }

    @Test func theCheckOfAllPicturesFindsWhatIsNotXML() throws {
        let directory = try TemporaryDirectory()
        for broken in ["<svg><g></svg>", "<svg>\u{1}</svg>", "<svg>&x;</svg>", ""] {
            #expect(try xmllint(directory.write(Array(broken.utf8), as: "broken.svg").path) != nil)
        }
    }

    @Test func hostileNamesGiveValidXML() throws {
        _ = try drawn(hostileStacks(), hostileOptions())
        for seed in 1...5 {
            _ = try drawn(FoldedStacks(parsing: randomFolded(seed: UInt64(seed), lines: 101)))
        }
    }

    @Test func hashesAreThoseOfTheStandard() {
        #expect(base64(sha256([])) == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
        #expect(base64(sha256(Array("abc".utf8))) == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")
        #expect(
            base64(sha256(Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)))
                == "JI1qYdIGOLjlwCaTDD5gOaM85Flk/yFn9uzt1BnbBsE=")
    }
}
