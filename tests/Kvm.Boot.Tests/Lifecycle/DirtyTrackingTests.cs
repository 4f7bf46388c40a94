using Kvm.Vmm;
using Kvm.Vmm.Storage;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Lifecycle;

public class DirtyTrackingTests
{
    private const uint Go = BareGuest.Counter + 0x1000, Target = 0x40_0000, Pages = 64;

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Pages_that_were_written_are_told_once_and_again_when_written_again(string engine)
    {
        using var guest = new BareGuest(engine, WriteWhenTold);
        var machine = guest.Machine;
        machine.Start();
        guest.WaitUntilAbove(0);
        machine.StartDirtyTracking();
        List<ulong> pages = [];
        machine.CollectDirty(pages);
        for (uint round = 1; round <= 3; round++)
        {
            machine.Memory.TryWrite(Go, round).Should().BeTrue();
            SpinWait.SpinUntil(() => guest.Read(Go + 4) == round, TimeSpan.FromSeconds(60)).Should().BeTrue();
            pages.Clear();
            machine.CollectDirty(pages);
            pages.Should().BeInAscendingOrder().And.OnlyHaveUniqueItems();
            pages.Where(p => p is >= Target and < Target + (Pages << 12)).Should().Equal(Enumerable.Range(0, (int)Pages / 2).Select(i => (ulong)(Target + (i * 0x2000))), "it writes every second page");
            pages.Should().Contain(Go, "the test wrote it").And.NotContain(0x80_0000);
        }

        machine.Pause();
        machine.CollectDirty(pages);
        pages.Clear();
        machine.CollectDirty(pages);
        pages.Should().BeEmpty("it stands still");
        machine.StopDirtyTracking();
        machine.Invoking(m => m.CollectDirty(pages)).Should().Throw<InvalidOperationException>();
        machine.Resume();
        guest.WaitUntilAbove(guest.Read(BareGuest.Counter));
    }

    [SkippableTheory]
    [InlineData(DiskAio.Threads, 1)]
    [InlineData(DiskAio.Uring, 2)]
    public void Copy_that_is_kept_up_by_dirty_pages_is_what_memory_is(DiskAio aio, int cpus)
    {
        using var disk = new Ext4Disk();
        var compared = new TaskCompletionSource();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "disk", TimeSpan.FromMinutes(3), c => c with
        {
            Cpus = cpus,
            Disks = [new DiskConfig { Path = disk.FilePath, Aio = aio }],
            Entropy = true,
            InlineQueues = false,
        }, null, ("GUEST-UP", machine => Task.Run(() => KeepUp(machine, compared))));
        compared.Task.Wait(TimeSpan.FromMinutes(1)).Should().BeTrue();
        run.Console.Should().Contain("GUEST-DONE");
        disk.ShouldBeWhole();
    }

    /// <summary>Writes every second page of a stretch whenever it is told a new number, and tells it back.</summary>
    private static void WriteWhenTold(Iced.Intel.Assembler a)
    {
        var again = a.CreateLabel();
        var page = a.CreateLabel();
        a.Label(ref again);
        a.inc(__dword_ptr[BareGuest.Counter]);
        a.mov(eax, __dword_ptr[Go]);
        a.cmp(eax, __dword_ptr[Go + 4]);
        a.je(again);
        a.mov(edi, Target);
        a.mov(ecx, Pages / 2);
        a.Label(ref page);
        a.mov(__dword_ptr[edi], eax);
        a.add(edi, 0x2000);
        a.dec(ecx);
        a.jne(page);
        a.mov(__dword_ptr[Go + 4], eax);
        a.jmp(again);
    }

    private static void KeepUp(VirtualMachine machine, TaskCompletionSource compared)
    {
        try
        {
            byte[]? copy = null;
            List<ulong> pages = [];
            for (int round = 0; round < 13 && !machine.Ended.IsCompleted; round++)
            {
                if (round % 4 != 0)
                {
                    machine.CollectDirty(pages);
                    continue;
                }

                machine.Pause();
                // One that has ended may be disposed of at any moment; one that is paused does not end.
                if (!machine.IsPaused)
                    break;
                copy ??= Begin(machine);
                machine.CollectDirty(pages);
                foreach (ulong page in pages)
                    machine.Memory.TryRead(page, copy.AsSpan((int)page, 4096)).Should().BeTrue();
                pages.Clear();
                byte[] now = new byte[copy.Length];
                machine.Memory.TryRead(0, now).Should().BeTrue();
                int different = copy.AsSpan().CommonPrefixLength(now);
                different.Should().Be(copy.Length, $"page {different & ~0xfff:x} was written unnoticed");
                machine.Resume();
            }

            compared.SetResult();
        }
        catch (ObjectDisposedException)
        {
            compared.SetResult(); // the guest was faster
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            compared.SetException(e);
        }
    }

    private static byte[] Begin(VirtualMachine machine)
    {
        machine.StartDirtyTracking();
        byte[] copy = new byte[machine.Config.MemoryBytes];
        machine.Memory.TryRead(0, copy).Should().BeTrue();
        return copy;
    }
}
