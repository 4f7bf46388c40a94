using Kvm.Devices.Block.Qcow2;

namespace Kvm.Devices.Tests.Block.Qcow2;

public sealed class SharedGateTests
{
    [Fact]
    public void Nobody_is_inside_with_one_who_is_alone_and_everybody_gets_in()
    {
        const int Threads = 6, Rounds = 20_000;
        using var gate = new SharedGate();
        int together = 0, alone = 0;
        bool wrong = false;
        var threads = Enumerable.Range(0, Threads).Select(n => new Thread(() =>
        {
            for (int i = 0; i < Rounds; i++)
            {
                if ((i + n) % 5 == 0)
                {
                    gate.EnterAlone();
                    if (Interlocked.Increment(ref alone) != 1 || Volatile.Read(ref together) != 0)
                        wrong = true;
                    Interlocked.Decrement(ref alone);
                    gate.ExitAlone();
                }
                else
                {
                    gate.EnterShared();
                    Interlocked.Increment(ref together);
                    if (Volatile.Read(ref alone) != 0)
                        wrong = true;
                    Interlocked.Decrement(ref together);
                    gate.ExitShared();
                }
            }
        })).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        wrong.Should().BeFalse();
    }

    [Fact]
    public void Two_are_inside_together()
    {
        using var gate = new SharedGate();
        gate.EnterShared();
        var other = new Thread(() =>
        {
            gate.EnterShared();
            gate.ExitShared();
        });
        other.Start();
        other.Join();
        gate.ExitShared();
        gate.EnterAlone();
        gate.ExitAlone();
    }

    [Fact]
    public void Entering_and_leaving_allocates_nothing()
    {
        using var gate = new SharedGate();
        Allocation.Of(_ =>
        {
            gate.EnterShared();
            gate.ExitShared();
            gate.EnterAlone();
            gate.ExitAlone();
        }).Should().Be(0);
    }
}
