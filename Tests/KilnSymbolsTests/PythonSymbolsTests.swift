import Glibc
import SystemPackage
import Testing

@testable import KilnSymbols

struct PythonSymbolsTests {
    @Test(arguments: [
        ("/usr/bin/python3.9", 9), ("/opt/lib/libpython3.14.so.1.0", 14), ("libpython3.13t.so", 13), ("python3", nil),
        ("_json.cpython-311-x86_64-linux-gnu.so", nil),
        ("/python3.11/app", nil), ("ipython3.11", nil),
    ]) func aFilesNameHasTheVersion(_ file: String, _ version: Int?) {
        #expect(PythonSymbols.version(ofFile: file) == version)
    }

    /// The moved part of a stripped interpreter's function is code that no symbol names.
    @Test func thoseOfTheSystemsPythonAreFound() throws {
        let path = "/usr/bin/python3"
        let file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path)
        let symbols = try #require(try PythonSymbols(ElfFile(reading: file.descriptor, named: path)))
        #expect(Set([symbols.runtime, symbols.version, symbols.codeType, 0]).count == 4)
        guard let part = symbols.movedPart else { return }
        let table = try SymbolTable(reading: file.descriptor, named: path)
        #expect(part.count > 100 && table.function(at: part.lowerBound) == nil && table.function(at: part.upperBound - 1) == nil)
        let extents = try FunctionExtents(reading: file.descriptor, named: path)
        #expect(extents.function(at: part.lowerBound) == part)
    }

    @Test(arguments: [
        (["libc.so.6", "node"], CodeGenerator.node), (["java", "libjvm.so"], .java), (["dotnet", "libcoreclr.so"], .dotnet), (["beam.smp"], .erlang),
        (["php-fpm8.2", "opcache.so"], .php), (["ruby3.1", "libruby-3.1.so.3.1"], .ruby), (["luajit-2.1.0"], .luajit), (["program", "libc.so.6"], nil),
    ]) func programsThatGenerateCodeAreKnown(_ files: [String], _ expected: CodeGenerator?) {
        #expect(CodeGenerator(files: files) == expected)
    }
}
