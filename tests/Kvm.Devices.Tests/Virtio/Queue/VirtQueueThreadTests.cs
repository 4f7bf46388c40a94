using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Queue;

/// <summary>A driver and a device on threads of their own, which sleep until the other wakes them: a wake-up lost is a test that hangs.</summary>
public sealed class VirtQueueThreadTests
{
    private const int Buffers = 50_000;

    public static TheoryData<bool, bool, bool> Forms
    {
        get
        {
            var forms = new TheoryData<bool, bool, bool>();
            for (int i = 0; i < 8; i++)
                forms.Add((i & 1) != 0, (i & 2) != 0, (i & 4) != 0);
            return forms;
        }
    }

    [Theory]
    [MemberData(nameof(Forms))]
    public async Task Fifty_thousand_buffers_pass_both_ways_with_notifications_suppressed_and_none_lost(bool packed, bool eventIndex, bool polled)
    {
        using var arena = new GuestArena();
        var driver = FakeDriver.Make(packed, arena, 16, eventIndex);
        var queue = new VirtQueue(arena.Memory, 16);
        queue.Start(driver.Setup).Should().BeTrue();
        using var notify = new SemaphoreSlim(0);
        using var interrupt = new SemaphoreSlim(0);
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(120));

        var device = Task.Factory.StartNew(() => Serve(queue, polled, notify, interrupt, stop.Token), stop.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        var guest = Task.Factory.StartNew(() => Drive(driver, notify, interrupt, stop.Token), stop.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        await Task.WhenAll(device, guest);
        queue.Fault.Should().Be(QueueFault.None);
        queue.Popped.Should().Be(Buffers);
        (await guest).Should().Be(Buffers);
    }

    private static void Serve(VirtQueue queue, bool polled, SemaphoreSlim notify, SemaphoreSlim interrupt, CancellationToken stop)
    {
        // A device that polls looks twice without asking for notifications, then asks and sleeps.
        for (int done = 0, turn = 0; done < Buffers; turn++)
        {
            queue.IsPolled = polled && turn % 3 != 0;
            queue.DisableNotifications();
            do
            {
                for (int batch = 0; batch < 5 && queue.TryPop(out var chain); batch++, done++)
                    queue.Complete(chain.Token, 1);
                if (queue.Publish())
                    interrupt.Release();
            }
            while (queue.EnableNotifications());
            if (queue.Fault != QueueFault.None)
                throw new InvalidOperationException($"{queue.Fault}");
            if (done < Buffers && !queue.IsPolled)
                notify.Wait(stop);
        }
    }

    private static int Drive(FakeDriver driver, SemaphoreSlim notify, SemaphoreSlim interrupt, CancellationToken stop)
    {
        var element = Element.In(GuestArena.Base, 1);
        int added = 0, used = 0;
        while (used < Buffers)
        {
            driver.DisableInterrupts();
            while (added < Buffers && driver.TryAdd([element], out _))
            {
                added++;
                if (driver.MustNotify())
                    notify.Release();
            }

            while (driver.TakeUsed() is not null)
                used++;
            if (used < Buffers && (added - used == driver.Size || added == Buffers) && !driver.EnableInterrupts())
                interrupt.Wait(stop);
        }

        return used;
    }
}
