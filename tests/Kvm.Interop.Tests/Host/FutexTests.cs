using System.Runtime.InteropServices;

namespace Kvm.Interop.Tests.Host;

public sealed class FutexTests
{
    [Fact]
    public void A_word_that_differs_is_not_waited_for()
    {
        using HostMapping memory = HostMapping.Shared(4096, "futex");
        MemoryMarshal.Write(memory.Span, 7);

        Futex.Wait(memory.Address, 8, long.MaxValue).Should().Be(-Errno.EAGAIN);
    }

    [Fact]
    public void A_wait_ends_at_its_deadline()
    {
        using HostMapping memory = HostMapping.Shared(4096, "futex");
        long deadline = HostClock.Monotonic() + 2_000_000;

        int result;
        while ((result = Futex.Wait(memory.Address, 0, deadline)) is not -Errno.ETIMEDOUT)
        {
            result.Should().BeOneOf(0, -Errno.EINTR);
        }

        HostClock.Monotonic().Should().BeGreaterThanOrEqualTo(deadline);
    }

    [Fact]
    public void A_wake_up_through_another_mapping_of_the_memory_is_one()
    {
        using HostMapping one = HostMapping.Shared(4096, "futex");
        using HostMapping other = HostMapping.Open(one.File!.Duplicate(), 1 << 20);
        bool woken = false;
        Thread waiter = new(() =>
        {
            while (MemoryMarshal.Read<int>(one.Span) == 0)
            {
                _ = Futex.Wait(one.Address, 0, long.MaxValue);
            }

            woken = true;
        });
        waiter.Start();
        MemoryMarshal.Write(other.Span, 1);
        while (!waiter.Join(1))
        {
            Futex.Wake(other.Address, int.MaxValue).Should().BeGreaterThanOrEqualTo(0);
        }

        woken.Should().BeTrue();
    }

    [Fact]
    public void Waiting_and_waking_allocate_nothing()
    {
        using HostMapping memory = HostMapping.Shared(4096, "futex");

        Allocation.Of(_ =>
        {
            Futex.Wait(memory.Address, 1, HostClock.Monotonic());
            Futex.Wake(memory.Address, 1);
        }).Should().Be(0);
    }

    [Fact]
    public void Memory_that_could_shrink_is_not_mapped()
    {
        string path = Path.GetTempFileName();
        File.WriteAllBytes(path, new byte[4096]);

        Action open = () => HostMapping.Open(new FdHandle(Descriptor.OpenForReading(path)), 1 << 20);

        open.Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EINVAL);
        File.Delete(path);
    }

    [Fact]
    public void Memory_larger_than_allowed_is_not_mapped()
    {
        using HostMapping one = HostMapping.Shared(8192, "futex");

        Action open = () => HostMapping.Open(one.File!.Duplicate(), 4096);

        open.Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EINVAL);
    }
}
