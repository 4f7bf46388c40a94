using System.Text;
using Kvm.Cli.Tests;
using Kvm.Vmm.Control;

namespace Kvm.Manager.Tests;

public sealed class ConsoleTests : IDisposable
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);

    private readonly TemporaryState _state = new();

    public ConsoleTests() => Published.Require();

    public void Dispose() => _state.Dispose();

    [SkippableFact]
    public void Several_read_what_the_guest_writes_and_one_types()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("echo", Guests.Echo));
        var worker = manager.Start("echo").Worker!.Value;
        using var first = Attach(manager, "write", writes: true);
        using var second = Attach(manager, "write", writes: false);
        using var third = Attach(manager, "read", writes: false);
        second.Send("nobody sees this"u8);
        first.Send("abc"u8);
        foreach (var client in (ControlClient[])[first, second, third])
            Read(client, 4).Should().Be("Rabc");
        using var late = Attach(manager, "read", writes: false);
        Read(late, 4).Should().Be("Rabc", "who comes late sees what was written last");
        first.Send("q"u8);
        worker.WaitForEnd(s_long).Should().BeTrue();
        foreach (var client in (ControlClient[])[first, second, third])
            client.Read(new byte[16]).Should().Be(0, "the guest has ended");
        manager.Get("echo").State.Should().Be(VmState.Stopped);
    }

    [SkippableFact]
    public void One_that_never_reads_holds_up_neither_its_guest_nor_other_readers_nor_other_machines_of_the_process()
    {
        var manager = _state.Manager;
        foreach (string name in (string[])["flood", "other"])
        {
            manager.Create(TemporaryState.Machine(name, Guests.Flood), new CreateOptions { Shared = true });
            manager.Start(name);
        }

        using var stuck = Attach(manager, "read", writes: false, "flood");
        byte[] buffer = new byte[64 << 10];
        foreach (string name in (string[])["flood", "other"])
        {
            using var reader = Attach(manager, "read", writes: false, name);
            // More than what is kept and what the sockets of the one that does not read hold.
            for (int left = 1 << 20; left > 0;)
            {
                int count = reader.Read(buffer);
                count.Should().BePositive("the guest goes on");
                left -= count;
            }
        }

        foreach (string name in (string[])["flood", "other"])
            manager.Kill(name).State.Should().Be(VmState.Stopped);
    }

    [SkippableFact]
    public void Events_that_cannot_be_kept_are_lost_and_hold_up_no_machine()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("flood", Guests.Flood));
        manager.Start("flood");
        // Somebody stands still who writes an event; another does not read his.
        using var reader = manager.Events.Read(follow: false).GetEnumerator();
        reader.MoveNext().Should().BeTrue();
        using (Kvm.Vmm.Host.HostLock.TryAcquire(manager.Events.Path + ".lock", 0, s_long))
        {
            manager.Pause("flood").State.Should().Be(VmState.Paused);
            manager.Resume("flood").State.Should().Be(VmState.Running);
        }

        manager.Kill("flood");
        manager.Events.Read(follow: false).Should().NotContain(line => line.Contains("paused")).And.Contain(line => line.Contains("stopped"));
    }

    [SkippableFact]
    public void When_the_one_that_types_leaves_another_may()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("echo", Guests.Echo));
        manager.Start("echo");
        var first = Attach(manager, "write", writes: true);
        first.Send("x"u8);
        Read(first, 2).Should().Be("Rx");
        first.Dispose();
        // The worker finds out when it looks at that socket: until then the place is taken.
        for (bool typed = false; !typed;)
        {
            using var next = manager.Connect("echo");
            next.Ask("console write");
            next.TryRead(out var line).Should().BeTrue();
            typed = Encoding.UTF8.GetString(line.Span) == "{\"writes\":true}";
        }

        manager.Kill("echo");
    }

    [SkippableFact]
    public void A_client_that_reads_nothing_holds_nobody_up()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("flood", Guests.Flood));
        manager.Start("flood");
        using var asleep = Attach(manager, "read", writes: false);
        using var awake = Attach(manager, "read", writes: false);
        // More than every buffer on the way holds.
        Read(awake, 2 << 20).Should().MatchRegex("^x+$");
        manager.Kill("flood").State.Should().Be(VmState.Stopped);
    }

    private static ControlClient Attach(VmManager manager, string how, bool writes, string? name = null)
    {
        var client = manager.Connect(name ?? manager.Store.List().Single().Name);
        client.Ask($"console {how}");
        client.TryRead(out var greeting).Should().BeTrue();
        Encoding.UTF8.GetString(greeting.Span).Should().Be(writes ? "{\"writes\":true}" : "{\"writes\":false}");
        return client;
    }

    private static string Read(ControlClient client, int bytes)
    {
        byte[] text = new byte[bytes];
        for (int read = 0; read < bytes;)
        {
            int count = client.Read(text.AsSpan(read));
            count.Should().BePositive();
            read += count;
        }

        return Encoding.UTF8.GetString(text);
    }
}
