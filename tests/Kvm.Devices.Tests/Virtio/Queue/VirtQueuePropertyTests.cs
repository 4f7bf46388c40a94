using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Queue;

public sealed class VirtQueuePropertyTests
{
    private enum Act
    {
        Add,
        AddIndirect,
        Pop,
        PutBack,
        Complete,
        Publish,
        TakeUsed,
        MoveToAnotherQueue,
    }

    public static TheoryData<bool, bool> Forms => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    private static readonly Gen<(Act Act, int Value)[]> Acts =
        (from act in Gen.Frequency(
            (6, Gen.Constant(Act.Add)), (2, Gen.Constant(Act.AddIndirect)), (7, Gen.Constant(Act.Pop)), (2, Gen.Constant(Act.PutBack)),
            (6, Gen.Constant(Act.Complete)), (4, Gen.Constant(Act.Publish)), (5, Gen.Constant(Act.TakeUsed)), (1, Gen.Constant(Act.MoveToAnotherQueue)))
         from value in Gen.Choose(0, 1 << 20)
         select (act, value)).ArrayOf(400);

    /// <summary>A driver and a queue in any legal order: each buffer comes back once, with the length the device said, in the device's order.</summary>
    [Theory]
    [MemberData(nameof(Forms))]
    public void Any_legal_traffic_gives_each_buffer_back_once_in_order_of_completion(bool packed, bool eventIndex) =>
        Prop.ForAll(Acts.ToArbitrary(), acts =>
        {
            using var arena = new GuestArena();
            var driver = FakeDriver.Make(packed, arena, 8, eventIndex);
            var queue = new VirtQueue(arena.Memory, 8);
            if (!queue.Start(driver.Setup))
                return false;
            var offered = new Queue<(ushort Id, int Elements)>();
            var popped = new List<ChainToken>();
            var completed = new Queue<UsedBuffer>();
            var visible = new Queue<UsedBuffer>();
            foreach (var (act, value) in acts)
            {
                switch (act)
                {
                    case Act.Add or Act.AddIndirect:
                        Offer(driver, offered, 1 + value % 8, act == Act.AddIndirect);
                        break;
                    case Act.Pop or Act.PutBack:
                        bool any = queue.TryPop(out var chain);
                        if (any != (offered.Count > 0))
                            return false;
                        if (!any)
                            break;
                        var (id, elements) = offered.Peek();
                        if (chain.Token.Head != id || chain.Readable.Length + chain.Writable.Length != elements || chain.Writable[^1].Length != elements)
                            return false;
                        if (act == Act.PutBack)
                        {
                            queue.PutBack(chain.Token);
                            break;
                        }

                        offered.Dequeue();
                        popped.Add(chain.Token);
                        break;
                    case Act.Complete when popped.Count > 0:
                        var token = popped[value % popped.Count];
                        popped.Remove(token);
                        if (!queue.Complete(token, (uint)value + 1))
                            return false;
                        completed.Enqueue(new UsedBuffer(token.Head, (uint)value + 1));
                        break;
                    case Act.Publish:
                        queue.Publish();
                        while (completed.TryDequeue(out var done))
                            visible.Enqueue(done);
                        break;
                    case Act.TakeUsed:
                        var used = driver.TakeUsed();
                        if (used != (visible.TryDequeue(out var expected) ? expected : null))
                            return false;
                        break;
                    case Act.MoveToAnotherQueue when popped.Count == 0 && completed.Count == 0:
                        var position = queue.Stop();
                        queue = new VirtQueue(arena.Memory, 8);
                        if (!queue.Start(driver.Setup, position))
                            return false;
                        break;
                }
            }

            return queue.Fault == QueueFault.None && queue.InFlight == popped.Count;
        }).QuickCheckThrowOnFailure();

    private static void Offer(FakeDriver driver, Queue<(ushort Id, int Elements)> offered, int length, bool indirect)
    {
        var elements = new Element[length];
        for (int i = 0; i < length; i++)
            elements[i] = new Element(GuestArena.Base + (ulong)i, (uint)(i == length - 1 ? length : 1), i >= length / 2);
        if (indirect && driver.HasRoom)
            offered.Enqueue((driver.AddIndirect(elements), length));
        else if (driver.TryAdd(elements, out ushort id))
            offered.Enqueue((id, length));
    }

    private static readonly Gen<(int Offset, int Width, int Value)[]> Scribbles =
        (from offset in Gen.Choose(0, 1023)
         from width in Gen.Elements(1, 2, 4, 8)
         from value in Gen.OneOf(Gen.Choose(0, 16), Gen.Choose(int.MinValue, int.MaxValue), Gen.Elements(0x80, 0x8000, 0x81, 0x84, 0x8004, 0xffff))
         select (offset, width, value)).ArrayOf(120);

    /// <summary>A driver that writes anything anywhere into its ring, also while chains are out.</summary>
    [Theory]
    [MemberData(nameof(Forms))]
    public void Any_bytes_in_the_ring_give_only_buffers_inside_memory_and_throw_nothing(bool packed, bool eventIndex) =>
        Prop.ForAll(Scribbles.ToArbitrary(), scribbles =>
        {
            using var arena = new GuestArena(1 << 16);
            var driver = FakeDriver.Make(packed, arena, 16, eventIndex);
            var queue = new VirtQueue(arena.Memory, 16);
            queue.Start(driver.Setup);
            arena.Memory.TryPointer(GuestArena.Base, 1, true, out nint first);
            var held = new Queue<ChainToken>();
            foreach (var (offset, width, value) in scribbles)
            {
                // Half of the writes hit where both forms have what they look at first.
                int at = (value & 1) == 0 ? offset : offset % 64;
                BitConverter.GetBytes((long)value).AsSpan(0, width).CopyTo(arena.Bytes(GuestArena.Base + (ulong)at, width));
                for (int i = 0; i < 20 && queue.TryPop(out var chain); i++)
                {
                    if (chain.Readable.Length + chain.Writable.Length > 16 || chain.Token.Head >= 16)
                        return false;
                    foreach (var buffer in chain.Readable)
                    {
                        if (!Inside(buffer.Address, buffer.Length, first, arena.Size))
                            return false;
                    }

                    foreach (var buffer in chain.Writable)
                    {
                        if (!Inside(buffer.Address, buffer.Length, first, arena.Size))
                            return false;
                    }

                    held.Enqueue(chain.Token);
                    if ((value & 2) != 0)
                        queue.Complete(held.Dequeue(), 1);
                }

                queue.Publish();
                queue.EnableNotifications();
                queue.DisableNotifications();
                if (queue.Fault != QueueFault.None)
                {
                    held.Clear();
                    queue.Stop();
                    queue.Start(driver.Setup);
                }
            }

            return queue.InFlight == held.Count && held.Count <= 16;
        }).QuickCheckThrowOnFailure();

    private static bool Inside(nint address, int length, nint first, int size) =>
        length == 0 || (address >= first && address - first <= size && length <= size - (address - first));
}
