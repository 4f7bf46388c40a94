using System.Text;
using Kvm.Vmm.Control;

namespace Kvm.Vmm.Tests.Control;

public class ControlProtocolTests
{
    [Fact]
    public void A_request_is_understood_as_it_was_meant()
    {
        byte[] line = ControlProtocol.Request(TimeSpan.FromSeconds(2), 7);
        line.Length.Should().BeLessThan(ControlProtocol.MostRequestBytes);
        ControlProtocol.Parse(line.AsSpan(0, line.Length - 1), out var interval, out long count).Should().BeNull();
        (interval, count).Should().Be((TimeSpan.FromSeconds(2), 7L));
    }

    [Theory]
    [InlineData("", "speaks kvmsharp/1")]
    [InlineData("kvmsharp/2 stats 1000 0", "speaks kvmsharp/1")]
    [InlineData("kvmsharp/1", "stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stop 1000 0", "stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 49 0", "stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 3600001 0", "stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 1000 -1", "stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 1000 99999999999999999999", "stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 1000 0 0", "stats INTERVAL COUNT")]
    public void What_is_no_request_is_told(string line, string problem) =>
        ControlProtocol.Parse(Encoding.ASCII.GetBytes(line), out _, out _).Should().Contain(problem);

    [Theory]
    [InlineData("web", true)]
    [InlineData("a-b_c.9", true)]
    [InlineData("", false)]
    [InlineData(".", false)]
    [InlineData("..", false)]
    [InlineData("../x", false)]
    [InlineData("a/b", false)]
    [InlineData("a b", false)]
    [InlineData("é", false)]
    public void Only_names_that_are_file_names_have_a_socket(string name, bool has) =>
        (ControlProtocol.PathOf("/run", name) is not null).Should().Be(has);

    [Fact]
    public void Longer_names_have_none() => ControlProtocol.PathOf("/run", new string('a', 65)).Should().BeNull();
}
