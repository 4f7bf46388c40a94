using FsCheck;
using FsCheck.Fluent;
using Kvm.X86.Interrupts;
using static Kvm.X86.Tests.Interrupts.ApicRig;

namespace Kvm.X86.Tests.Interrupts.Apic;

/// <summary>SDM vol. 3, 11.8: acceptance, priorities, acknowledgement, EOI.</summary>
public sealed class LocalApicPriorityTests
{
    private readonly ApicRig _rig = new();

    [Fact]
    public void SDM_11_8_4_A_fixed_interrupt_goes_from_request_to_service_to_nothing()
    {
        _rig.Send(0x41).Should().BeTrue();
        _rig.Targets[0].Notified.Should().Be(1);
        _rig.Apic.Pending.Should().Be(InterruptEvents.Interrupt);
        _rig.Requested(0, 0x41).Should().BeTrue();

        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Requested(0, 0x41).Should().BeFalse();
        _rig.InService(0, 0x41).Should().BeTrue();
        _rig.Read(Ppr).Should().Be(0x40);

        _rig.Write(Eoi, 0);
        _rig.InService(0, 0x41).Should().BeFalse();
        _rig.Read(Ppr).Should().Be(0);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(-1);
    }

    [Fact]
    public void SDM_11_8_3_1_A_higher_class_nests_and_the_same_class_waits()
    {
        _rig.Send(0x51);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x51);
        _rig.Send(0x5f);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Send(0x61);
        _rig.Apic.Pending.Should().Be(InterruptEvents.Interrupt);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x61);

        _rig.Write(Eoi, 0);
        _rig.InService(0, 0x61).Should().BeFalse();
        _rig.InService(0, 0x51).Should().BeTrue();
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Write(Eoi, 0);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x5f);
    }

    [Fact]
    public void The_highest_of_several_requests_comes_first_and_the_rest_notify_again()
    {
        _rig.Send(0x31);
        _rig.Send(0xf1);
        _rig.Send(0x91);
        int notified = _rig.Targets[0].Notified;
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0xf1);
        _rig.Write(Eoi, 0);
        _rig.Targets[0].Notified.Should().BeGreaterThan(notified);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x91);
        _rig.Write(Eoi, 0);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x31);
    }

    [Theory]
    [InlineData(0x40u, 0x4f, false)]
    [InlineData(0x40u, 0x50, true)]
    [InlineData(0x4fu, 0x50, true)]
    [InlineData(0xf0u, 0xff, false)]
    public void SDM_11_8_3_1_The_task_priority_class_holds_back_its_own_and_lower_classes(uint tpr, byte vector, bool delivered)
    {
        _rig.Write(Tpr, tpr);
        _rig.Send(vector);
        (_rig.Apic.Pending != InterruptEvents.None).Should().Be(delivered);
        _rig.Write(Tpr, 0);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(vector);
    }

    [Fact]
    public void Lowering_the_task_priority_notifies_of_what_waited()
    {
        _rig.Apic.TaskPriorityClass = 15;
        _rig.Read(Tpr).Should().Be(0xf0);
        _rig.Send(0x81);
        _rig.Targets[0].Notified.Should().Be(0);
        _rig.Apic.TaskPriorityClass = 7;
        _rig.Targets[0].Notified.Should().Be(1);
        _rig.Apic.TaskPriorityClass.Should().Be(7);
    }

    [Fact]
    public void Raising_the_task_priority_takes_back_a_pending_interrupt()
    {
        _rig.Send(0x41);
        _rig.Write(Tpr, 0x50);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(-1);
    }

    [Theory]
    [InlineData(0x35u, 0x00, 0x35u)]
    [InlineData(0x35u, 0x31, 0x35u)]
    [InlineData(0x35u, 0x41, 0x40u)]
    public void SDM_11_8_3_1_Processor_priority_is_the_higher_of_task_priority_and_service(uint tpr, byte inService, uint ppr)
    {
        if (inService != 0)
        {
            _rig.Send(inService);
            _rig.Apic.AcknowledgeInterrupt();
        }

        _rig.Write(Tpr, tpr);
        _rig.Read(Ppr).Should().Be(ppr);
    }

    [Fact]
    public void A_second_message_while_in_service_is_requested_once_more_and_a_third_merges()
    {
        _rig.Send(0x41);
        _rig.Apic.AcknowledgeInterrupt();
        _rig.Send(0x41);
        _rig.Send(0x41);
        _rig.Write(Eoi, 0);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
        _rig.Write(Eoi, 0);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(-1);
    }

    [Fact]
    public void SDM_11_8_5_Only_the_EOI_of_a_level_interrupt_is_broadcast()
    {
        var eois = new Eois();
        _rig.Apic.Connect(eois, null);
        _rig.Send(0x41, level: true);
        (_rig.Read(Tmr + 0x20) & 2).Should().Be(2);
        _rig.Send(0x51);
        _rig.Apic.AcknowledgeInterrupt();
        _rig.Write(Eoi, 0);
        eois.Vectors.Should().BeEmpty();
        _rig.Apic.AcknowledgeInterrupt();
        _rig.Write(Eoi, 0);
        eois.Vectors.Should().Equal(0x41);
        _rig.Send(0x41);
        _rig.Read(Tmr + 0x20).Should().Be(0);
    }

    [Fact]
    public void SDM_11_8_5_Suppressed_broadcasts_stay_at_home()
    {
        var eois = new Eois();
        _rig.Apic.Connect(eois, null);
        _rig.Write(Svr, 0x11ff);
        _rig.Send(0x41, level: true);
        _rig.Apic.AcknowledgeInterrupt();
        _rig.Write(Eoi, 0);
        eois.Vectors.Should().BeEmpty();
    }

    [Fact]
    public void An_EOI_with_nothing_in_service_changes_nothing()
    {
        _rig.Send(0x41);
        _rig.Write(Eoi, 0);
        _rig.Requested(0, 0x41).Should().BeTrue();
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
    }

    [Fact]
    public void SDM_11_4_7_2_A_software_disabled_APIC_takes_no_fixed_interrupt_but_delivers_what_waited()
    {
        _rig.Send(0x41);
        _rig.Write(Svr, 0xff);
        _rig.Send(0x51).Should().BeFalse();
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
        _rig.Bus.Deliver(new ApicMessage(0, false, ApicDelivery.Nmi, 0)).Should().BeTrue();
        _rig.Apic.TakeNmi().Should().BeTrue();
        _rig.Apic.TakeNmi().Should().BeFalse();
    }

    [Fact]
    public void SDM_11_5_2_Vectors_below_16_are_not_accepted_and_noted()
    {
        _rig.Write(LvtError, 0xfe);
        _rig.Send(0x0f).Should().BeFalse();
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0xfe);
        _rig.Read(Esr).Should().Be(0);
        _rig.Write(Esr, 0);
        _rig.Read(Esr).Should().Be(1 << 6);
        _rig.Write(Esr, 0);
        _rig.Read(Esr).Should().Be(0);
    }

    [Fact]
    public void Whatever_happens_a_delivered_vector_is_of_a_higher_class_than_all_in_service_and_the_task()
    {
        // Each number is an act: a message, an acknowledgement, an EOI or a new task priority.
        Prop.ForAll(ArbMap.Default.ArbFor<ushort[]>(), acts =>
        {
            var rig = new ApicRig();
            var service = new List<int>();
            int task = 0;
            foreach (ushort act in acts)
            {
                byte value = (byte)act;
                switch ((act >> 8) & 3)
                {
                    case 0:
                        rig.Send(value, (act & 0x8000) != 0);
                        break;
                    case 1 when rig.Apic.AcknowledgeInterrupt() is var vector and >= 0:
                        if (vector >> 4 <= task >> 4 || service.Any(s => s >> 4 >= vector >> 4))
                            return false;
                        service.Add(vector);
                        break;
                    case 2:
                        rig.Write(Eoi, 0);
                        if (service.Count > 0)
                            service.Remove(service.Max());
                        break;
                    case 3:
                        rig.Write(Tpr, value);
                        task = value;
                        break;
                }

                int highest = Enumerable.Range(16, 240).Where(v => rig.Requested(0, (byte)v)).DefaultIfEmpty(-1).Max();
                int held = Math.Max(task >> 4, service.DefaultIfEmpty(0).Max() >> 4);
                if ((rig.Apic.Pending == InterruptEvents.Interrupt) != (highest >> 4 > held))
                    return false;
            }

            return Enumerable.Range(0, 256).Where(v => rig.InService(0, (byte)v)).SequenceEqual(service.Order());
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void No_interrupt_is_lost_between_senders_and_the_processor()
    {
        // Two senders use vectors of their own; each waits until its last message was served before it sends again.
        const int Rounds = 20_000;
        int[] sent = new int[2], served = new int[2];
        Task Sender(int n, byte vector) => Task.Run(() =>
        {
            for (int i = 0; i < Rounds; i++)
            {
                Volatile.Write(ref sent[n], i + 1);
                _rig.Send(vector);
                var spin = new SpinWait();
                while (Volatile.Read(ref served[n]) <= i)
                    spin.SpinOnce(sleep1Threshold: -1);
            }
        });

        var senders = Task.WhenAll(Sender(0, 0x41), Sender(1, 0x92));
        var limit = System.Diagnostics.Stopwatch.StartNew();
        while (!senders.IsCompleted && limit.Elapsed < TimeSpan.FromSeconds(60))
        {
            if ((_rig.Apic.Pending & InterruptEvents.Interrupt) == 0)
            {
                Thread.Yield();
                continue;
            }

            int vector = _rig.Apic.AcknowledgeInterrupt();
            if (vector < 0)
                continue;
            int n = vector == 0x41 ? 0 : 1;
            Volatile.Write(ref served[n], Volatile.Read(ref sent[n]));
            _rig.Write(Eoi, 0);
        }

        served.Should().Equal(Rounds, Rounds);
    }

    [Fact]
    public void An_interrupt_from_message_to_EOI_allocates_nothing()
    {
        void Round()
        {
            _rig.Send(0x41, level: true);
            _rig.Apic.AcknowledgeInterrupt();
            _rig.Write(Eoi, 0);
            _rig.Ipi(0x40055);
            _rig.Apic.AcknowledgeInterrupt();
            _rig.Write(Eoi, 0);
        }

        Round();
        Allocation.Of(_ => Round(), 10_000).Should().Be(0);
    }
}
