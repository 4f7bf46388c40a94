using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net;

namespace Kvm.Devices.Tests.Net;

public sealed class FrameRingTests
{
    private const int Least = 2 * (NetHeader.Size + NetHeader.MaxFrame + 16);

    private static byte[] Frame(int number, int length)
    {
        byte[] frame = new byte[length];
        for (int i = 0; i < length; i++)
            frame[i] = (byte)(number + i * 3);
        return frame;
    }

    /// <summary>Frames of random lengths go in and out in random turns; each comes out whole and in order, and one is refused only if there is no room.</summary>
    [Fact]
    public void Frames_come_out_whole_and_in_order_whatever_their_lengths()
    {
        var lengths = Gen.Choose(1, NetHeader.Size + NetHeader.MaxFrame).Or(Gen.Choose(1, 100));
        Prop.ForAll(Gen.Zip(lengths, Gen.Choose(0, 4)).ListOf().Resize(300).ToArbitrary(), steps =>
        {
            var ring = new FrameRing(Least);
            var model = new Queue<byte[]>();
            int number = 0;
            foreach (var (length, takes) in steps)
            {
                byte[] frame = Frame(number++, length);
                bool added = ring.TryAdd(frame.AsSpan(0, length / 2), frame.AsSpan(length / 2), out bool wasEmpty);
                if (!added && model.Sum(f => f.Length + 12) + 2 * (length + 12) < Least / 2)
                    return false;
                if (added && wasEmpty != (model.Count == 0))
                    return false;
                if (added)
                    model.Enqueue(frame);
                for (int i = 0; i < takes - 1 && model.Count > 0; i++)
                {
                    if (!ring.Peek().SequenceEqual(model.Peek()) || !ring.Peek().SequenceEqual(model.Dequeue()))
                        return false;
                    ring.Take();
                }

                if (ring.Count != model.Count)
                    return false;
            }

            return true;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Refused_frame_is_remembered_until_there_is_room()
    {
        var ring = new FrameRing(Least);
        int count = 0;
        while (ring.TryAdd(Frame(count, 50_000), default, out _))
            count++;
        count.Should().Be(2);
        ring.Peek();
        ring.Take().Should().BeTrue();
        ring.Take().Should().BeFalse("it was said once");
        ring.Peek().IsEmpty.Should().BeTrue();
        ring.Take().Should().BeFalse();
    }

    [Fact]
    public void Threads_that_pass_frames_lose_none()
    {
        var ring = new FrameRing(Least);
        const int frames = 20_000;
        var sender = new Thread(() =>
        {
            for (int i = 0; i < frames; i++)
            {
                byte[] frame = Frame(i, 1 + i * 37 % 3000);
                while (!ring.TryAdd(frame, default, out _))
                    Thread.Yield();
            }
        });
        sender.Start();
        for (int i = 0; i < frames; i++)
        {
            while (ring.Count == 0)
                Thread.Yield();
            ring.Peek().SequenceEqual(Frame(i, 1 + i * 37 % 3000)).Should().BeTrue();
            ring.Take();
        }

        sender.Join();
        ring.Count.Should().Be(0);
    }
}
