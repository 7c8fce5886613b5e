import Testing

@testable import KilnTargets

@Suite struct ContainerTests {
    static let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

    struct Case: Sendable, CustomTestStringConvertible {
        var path: String
        var runtime: Container.Runtime
        var testDescription: String { path }
    }

    static let cases: [Case] = [
        Case(path: "/system.slice/docker-\(id).scope", runtime: .docker),
        Case(path: "/docker/\(id)", runtime: .docker),
        Case(path: "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-\(id).scope", runtime: .docker),
        Case(path: "/../docker-\(id).scope", runtime: .docker),
        Case(path: "/lxc.payload.box/docker/\(id)", runtime: .docker),
        Case(path: "/kubepods.slice/kubepods-besteffort.slice/cri-containerd-\(id).scope", runtime: .containerd),
        Case(path: "/system.slice/containerd.service/kubepods-burstable-podx.slice:cri-containerd:\(id)", runtime: .containerd),
        Case(path: "/user.slice/nerdctl-\(id).scope", runtime: .containerd),
        Case(path: "/kubepods.slice/crio-\(id).scope", runtime: .crio),
        Case(path: "/kubepods/besteffort/podac04f3f2-1f2c-11e9-b015-1ebee232acfa/\(id)", runtime: .kubernetes),
        Case(path: "/machine.slice/libpod-\(id).scope/container", runtime: .podman),
        Case(path: "/machine.slice/libpod-\(id).scope", runtime: .podman),
        Case(path: "/libpod_parent/libpod-\(id)", runtime: .podman),
        Case(path: "/default/\(id)", runtime: .unknown),
    ]

    @Test(arguments: cases) func theControlGroupNamesTheContainer(_ example: Case) throws {
        let container = try #require(Container(parsingCgroup: Array("0::\(example.path)\n".utf8)))
        #expect(container.runtime == example.runtime)
        #expect(container.id == Self.id)
        #expect(container.shortID == "0123456789ab")
    }

    @Test(arguments: [
        "/", "/init.scope", "/system.slice/redis-server.service", "/user.slice/user-0.slice/session-3.scope",
        "/machine.slice/libpod-conmon-\(id).scope", "/crio-conmon-\(id).scope", "/lxc.monitor.web", "/docker/buildkit/abc",
        "/system.slice/docker.service", "/docker", "/lxc",
    ])
    func aGroupOutsideOfContainersNamesNone(_ path: String) {
        #expect(Container(parsingCgroup: Array("0::\(path)\n".utf8)) == nil)
    }

    @Test func containersOfLXCAndNspawnHaveNames() {
        func description(_ path: String) -> String? { Container(parsingCgroup: Array("0::\(path)\n".utf8))?.description }
        #expect(description("/lxc.payload.web/system.slice/redis.service") == "lxc web")
        #expect(description("/lxc/web") == "lxc web")
        #expect(description("/machine.slice/systemd-nspawn@db.service/payload") == "systemd-nspawn db")
    }

    @Test func versionOneNamesTheContainerOnAnyLine() {
        let text = "0::/\n12:pids:/\n3:cpu,cpuacct:/docker/\(Self.id)\n1:name=systemd:/docker/\(Self.id)\n"
        #expect(Container(parsingCgroup: Array(text.utf8)) == Container(runtime: .docker, id: Self.id))
    }

    @Test func thePodOfAContainerIsKnownUnderBothDrivers() {
        let uid = "ac04f3f2-1f2c-11e9-b015-1ebee232acfa"
        let systemd =
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podac04f3f2_1f2c_11e9_b015_1ebee232acfa.slice/cri-containerd-\(Self.id).scope\n"
        #expect(Container(parsingCgroup: Array(systemd.utf8))?.pod == uid)
        #expect(Container(parsingCgroup: Array("0::/kubepods/pod\(uid)/\(Self.id)\n".utf8))?.pod == uid)
        #expect(Container(parsingCgroup: Array("0::/system.slice/docker-\(Self.id).scope\n".utf8))?.pod == nil)
    }

    @Test func bytesThatAreNoControlGroupNameNoContainer() {
        for text in ["", "\n\n", "0:", "::::", "0::" + String(repeating: "/", count: 5000)] {
            #expect(Container(parsingCgroup: Array(text.utf8)) == nil)
        }
    }
}
