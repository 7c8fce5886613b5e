import KilnSymbols
import TestSupport
import Testing

@Suite struct DemanglingTests {
    @Test(arguments: [
        ("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back"),
        ("_ZN3app4NodeC1Ev", "app::Node::Node"), ("_ZN3appL6hiddenEi", "app::hidden"),
        ("_ZN12_GLOBAL__N_14workEv", "(anonymous namespace)::work"), ("_ZN3app4workEi.isra.0", "app::work"),
        ("_ZN3app4workEi.cold", "app::work"), ("_Znwm@plt", "operator new@plt"),
    ])
    func namesOfCxxLoseTheirParameters(mangled: String, name: String) { #expect(demangled(mangled) == name) }

    @Test(arguments: [
        ("_ZN4core3ptr13drop_in_place17h0123456789abcdefE", "core::ptr::drop_in_place"),
        ("_ZN60_$LT$alloc..string..String$u20$as$u20$core..fmt..Display$GT$3fmt17h0123456789abcdefE", "<alloc::string::String as core::fmt::Display>::fmt"),
        ("_RNvCs1234_7mycrate3foo", "mycrate::foo"), ("_RNvMCs1234_7mycrateNtB2_5Table5twice", "<mycrate::Table>::twice"),
    ])
    func namesOfRustLoseTheirHashes(mangled: String, name: String) { #expect(demangled(mangled) == name) }

    @Test(arguments: [
        ("$s3app4workyyF", "app.work() -> ()"), ("$s3app5TableV5twiceSiyF", "app.Table.twice() -> Swift.Int"), ("_T03app4workyyF", "app.work() -> ()"),
    ])
    func namesOfSwiftAreAsItsToolsWriteThem(mangled: String, name: String) { #expect(demangled(mangled) == name) }

    @Test(arguments: ["", "main", "_Z", "_start", "_R", "$s", "$", "processCommand", "_Zebra", "@plt", "_ZN3app", "_T0", "$sNonsense", "JS:~main"])
    func otherNamesStayAsTheyAre(name: String) { #expect(demangled(name) == nil) }

    /// Back references double the name with every few bytes: 30 of them would make gigabytes.
    @Test func aNameThatStandsForGigabytesStaysMangled() {
        let digits = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        var pairs = "St4pairIiiE"
        for step in 1...30 { pairs += "S0_IS\(digits[step])_S\(digits[step])_E" }
        #expect(demangled("_Z1fI\(pairs)EvT_") == nil)
        #expect(demangled("_Z1fISt4pairIiiES0_IS1_S1_EEvT_") == "f<std::pair<int, int>, std::pair<std::pair<int, int>, std::pair<int, int> > >")
        #expect(demangled("_ZN" + String(repeating: "1a", count: 5000) + "Ev") == nil, "longer than anybody would read")
    }

    /// P<T, T> of P<T, T> of ..., as the compiler writes it: with 22 levels 64 MiB, and twice as much with each one more.
    @Test func theSameOfSwiftStaysMangledToo() {
        let bomb =
            "$s1m1fyyAA1PVyADyADyADyADyADyADyADyADyADyADyADyADyADyADyADyADyADyADyADyADyADyS2iGAEGAFGAGGAHGAIGAJGAKGALGAMGANGAOGAPGAQGARGASGATGAUGAVGAWGAXGAYGmF"
        #expect(demangled(bomb) == nil)
        #expect(demangled("$s1m1fyyAA1PVyADyADyADyS2iGAEGAFGAGGmF")?.contains("m.P<m.P<Swift.Int, Swift.Int>, m.P<Swift.Int, Swift.Int>>") == true)
    }

    @Test(arguments: [
        "_Z1f" + String(repeating: "P", count: 4000) + "i", "_Z1f" + String(repeating: "Pi", count: 500), "_ZN1a" + String(repeating: "I1b", count: 1000),
        "_RNvC1a" + String(repeating: "R", count: 2000), "_RI" + String(repeating: "NvC1a1bI", count: 400), "$sSi" + String(repeating: "Sg", count: 2000) + "D",
        "$s" + String(repeating: "Say", count: 1200) + "Si" + String(repeating: "G", count: 1200) + "D",
    ])
    func namesThatNestWithoutEndDoNoHarm(name: String) {
        let text = demangled(name)
        #expect(text == nil || text?.isEmpty == false)
    }

    /// A symbol table holds whatever its maker wants.
    @Test func garbledNamesGiveANameOrNone() {
        let sound = [
            "_ZNSt6vectorIiSaIiEE9push_backEOi", "_ZZN3app4workEiENKUlTyT_E_clIdEEDaS0_", "_ZN4core3ptr13drop_in_place17h0123456789abcdefE",
            "_RINvNtC3std3mem8align_ofjdE", "_RNvXs5_NtCs1234_7mycrate3fooINtB5_3BarpEINtNtC4core3cmp9PartialEqE2eq",
            "$s3app5TableV5twiceSiyF", "$sSD3app5TableVRszAC3KeyRs_rlE4find3for2inSSSgSi_SaySiGtKF", "$s10Foundation4DataV15_RepresentationO5countSivg",
            "$sSo7NSArrayC10FoundationE8iteratorAC21NSFastEnumerationIteratorVyF",
            "_T0s17_assertionFailures5NeverOs12StaticStringV_SSAE4fileSu4lines6UInt32V5flagstFTf4xnnnn_n",
        ].map { Array($0.utf8) }
        var random = SeededGenerator(seed: 1815)
        var names = 0
        for _ in 0..<5_000 {
            var garbled = sound[Int.random(in: 0..<sound.count, using: &random)]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 2..<garbled.count, using: &random)
                let other = sound[Int.random(in: 0..<sound.count, using: &random)]
                switch Int.random(in: 0..<4, using: &random) {
                case 0: garbled[place] = other[Int.random(in: 2..<other.count, using: &random)]
                case 1: garbled.insert(other[Int.random(in: 2..<other.count, using: &random)], at: place)
                case 2: if garbled.count > 8 { garbled.remove(at: place) }
                default: garbled.insert(contentsOf: other[Int.random(in: 2..<other.count, using: &random)...], at: place)
                }
            }
            if demangled(String(decoding: garbled, as: UTF8.self)) != nil { names += 1 }
        }
        #expect(names > 300)
    }
}
