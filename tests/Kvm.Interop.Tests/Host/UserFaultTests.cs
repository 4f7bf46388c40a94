using System.Runtime.InteropServices;

namespace Kvm.Interop.Tests.Host;

public sealed unsafe class UserFaultTests
{
    private const nuint Length = 16 * 4096;

    [SkippableFact]
    public void Access_waits_until_its_page_is_filled()
    {
        using var faults = Require();
        using var memory = HostMapping.Anonymous(Length);
        faults.Watch(memory.Address, Length).Should().Be(0);
        faults.TryTake(out _).Should().BeFalse("nobody has touched anything");
        // The kernel touches the page for the thread: no thread of the runtime is held up by it.
        int result = -1;
        var toucher = new Thread(() => result = memory.Populate(4096, 4096)) { IsBackground = true };
        toucher.Start();
        Take(faults).Should().Be((ulong)memory.Address + 4096);
        byte[] page = new byte[2 * 4096];
        page.AsSpan().Fill(0x5a);
        faults.Fill((ulong)memory.Address + 4096, page).Should().Be(0);
        toucher.Join(TimeSpan.FromSeconds(60)).Should().BeTrue();
        result.Should().Be(0);
        memory.Span.Slice(4096, 2 * 4096).ToArray().Should().OnlyContain(b => b == 0x5a);
    }

    [SkippableFact]
    public void Pages_that_are_there_stay_and_those_around_them_are_filled()
    {
        using var faults = Require();
        using var memory = HostMapping.Anonymous(Length);
        memory.Span[3 * 4096] = 7;
        faults.Watch(memory.Address, Length).Should().Be(0);
        byte[] content = new byte[8 * 4096];
        content.AsSpan().Fill(1);
        faults.Fill((ulong)memory.Address, content).Should().Be(0);
        faults.FillZeros((ulong)memory.Address, Length).Should().Be(0);
        memory.Span[3 * 4096].Should().Be(7);
        memory.Span[(3 * 4096) + 1].Should().Be(0);
        (memory.Span[(2 * 4096) + 5], memory.Span[4 * 4096], memory.Span[(8 * 4096) - 1], memory.Span[8 * 4096]).Should().Be(((byte)1, (byte)1, (byte)1, (byte)0));
    }

    [SkippableFact]
    public void All_go_on_when_the_descriptor_is_closed()
    {
        var faults = Require();
        using var memory = HostMapping.Anonymous(Length);
        faults.Watch(memory.Address, Length).Should().Be(0);
        var toucher = new Thread(() => memory.Populate(0, 4096)) { IsBackground = true };
        toucher.Start();
        Take(faults).Should().Be((ulong)memory.Address);
        faults.Dispose();
        toucher.Join(TimeSpan.FromSeconds(60)).Should().BeTrue();
        memory.Span[0].Should().Be(0);
    }

    [SkippableFact]
    public void What_is_no_watched_memory_is_refused()
    {
        using var faults = Require();
        using var memory = HostMapping.Anonymous(Length);
        faults.Watch(memory.Address + 1, 4096).Should().Be(-Errno.EINVAL);
        faults.Fill((ulong)memory.Address, new byte[4096]).Should().Be(-Errno.ENOENT);
        faults.FillZeros(ulong.MaxValue - 4095, 4096).Should().BeNegative();
    }

    private static UserFault Require()
    {
        int error = UserFault.TryCreate(out var faults);
        Skip.If(error != 0, $"this host does not permit userfaultfd: {Marshal.GetPInvokeErrorMessage(-error)}");
        return faults!;
    }

    private static ulong Take(UserFault faults)
    {
        for (int i = 0; i < 60; i++)
        {
            _ = Descriptor.Poll([new PollFd { Fd = faults.Handle.Fd, Events = PollFd.POLLIN }], 1000);
            if (faults.TryTake(out ulong address))
                return address;
        }

        return 0;
    }
}
