using System.Net;

namespace Kvm.Testing.Tests;

/// <summary>Two guests at one network.</summary>
public sealed class NetworkTests
{
    [VmFact]
    public async Task Guests_reach_each_other_by_name_until_the_network_is_cut_and_again_when_it_is_mended()
    {
        using var network = GuestNetwork.Of("alice", "bob");
        var (alice, bob) = await StartBoth(network);
        await using var first = alice;
        await using var second = bob;
        await bob.CheckAsync("sh", "-c", "mkdir /www; echo hello from bob >/www/hello; httpd -p 80 -h /www");
        string[] ask = ["timeout", "2", "wget", "-q", "-O", "-", "http://bob.test/hello"];
        string[] retry = ["sh", "-c", $"until {string.Join(' ', ask)}; do sleep 0.1; done"];

        (await alice.CheckAsync(retry)).Should().Be("hello from bob");

        network.Cut("alice", "bob");
        (await alice.ExecAsync(ask)).ExitCode.Should().NotBe(0);
        (await alice.ExecAsync("ping", "-c", "1", "-W", "1", $"{network.AddressOf("bob")}")).ExitCode.Should().Be(1);

        network.Mend("bob", "alice");
        (await alice.CheckAsync(retry)).Should().Be("hello from bob");
    }

    [Fact]
    public void Addresses_of_two_networks_have_nothing_in_common()
    {
        using GuestNetwork one = GuestNetwork.Of("a", "b"), other = GuestNetwork.Of("a", "b");
        new HashSet<IPAddress> { one.AddressOf("a"), one.AddressOf("b"), other.AddressOf("a"), other.AddressOf("b") }.Should().HaveCount(4);
        one.Invoking(network => network.AddressOf("c")).Should().Throw<ArgumentException>().WithMessage("*a, b*");
    }

    private static async Task<(Guest, Guest)> StartBoth(GuestNetwork network)
    {
        var options = new GuestOptions { Network = network };
        var guests = await Task.WhenAll(Guest.StartAsync(options with { Name = "alice" }), Guest.StartAsync(options with { Name = "bob" }));
        return (guests[0], guests[1]);
    }
}
