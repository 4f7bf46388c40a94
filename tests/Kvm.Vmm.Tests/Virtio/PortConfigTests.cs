using Kvm.Interop;
using Kvm.Vmm.Virtio.Ports;

namespace Kvm.Vmm.Tests.Virtio;

public sealed class PortConfigTests
{
    [Fact]
    public void Port_has_a_name_and_a_socket_and_a_comma_of_the_path_is_written_twice()
    {
        PortConfig.Parse("socket=/run/a,,b,name=org.agent:0", out var port).Should().BeNull();
        port.Should().Be(new PortConfig { Name = "org.agent:0", SocketPath = "/run/a,b" });
    }

    [Theory]
    [InlineData("", "has the part ''")]
    [InlineData("name=a", "names no socket")]
    [InlineData("socket=/s", "has the name ''")]
    [InlineData("name=a b,socket=/s", "has the name 'a b'")]
    [InlineData("name=a,socket=", "names no socket")]
    [InlineData("name=a,socket=/s,mode=0666", "has the part 'mode=0666'")]
    public void Text_that_is_no_port_says_why(string text, string why) => PortConfig.Parse(text, out _).Should().StartWith(why);

    [Fact]
    public void Names_and_paths_have_their_longest()
    {
        string Problem(int name, int path) => PortConfig.Parse($"name={new string('n', name)},socket=/{new string('p', path - 1)}", out _) ?? "";
        Problem(64, UnixListener.MaxPathBytes).Should().BeEmpty();
        Problem(65, 10).Should().Contain("names are 1 to 64");
        Problem(1, UnixListener.MaxPathBytes + 1).Should().Contain("107 at most");
    }

    [Fact]
    public void Machine_has_each_name_and_socket_once_and_no_more_ports_than_a_device()
    {
        static VmConfig With(GuestConsole console, params PortConfig[] ports) => new() { KernelPath = "k", Ports = ports, Console = console };
        static PortConfig Port(int name, int path) => new() { Name = $"n{name}", SocketPath = $"/s{path}" };
        With(GuestConsole.Virtio, Port(0, 0), Port(1, 1)).Validate().Should().BeEmpty();
        With(GuestConsole.Serial, Port(0, 0), Port(0, 1)).Validate().Should().ContainSingle().Which.Should().Be("ports 0 and 1 have the same name or socket");
        With(GuestConsole.Serial, Port(0, 0), Port(1, 0)).Validate().Should().ContainSingle();
        var most = Enumerable.Range(0, PortConfig.MaxPorts).Select(i => Port(i, i)).ToArray();
        With(GuestConsole.Serial, most).Validate().Should().BeEmpty();
        With(GuestConsole.Virtio, [.. most, Port(99, 99)]).Validate().Should().ContainSingle().Which.Should().Contain("30 at most");
        (With(GuestConsole.Serial, Port(0, 0)) with { Deterministic = true }).Validate().Should().ContainSingle();
    }
}
