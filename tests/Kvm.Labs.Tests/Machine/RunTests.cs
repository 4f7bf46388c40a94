using Kvm.Labs.Catalog;

namespace Kvm.Labs.Tests.Machine;

/// <summary>Programs that do what no lab asks for: they end, are told of, and take nothing with them.</summary>
public sealed class RunTests
{
    public static TheoryData<string> Engines => ["kvm", "soft"];

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void A_program_that_never_ends_is_ended_when_the_time_is_up(string engine)
    {
        RequireEngine(engine);
        var run = Run(1, "again: jmp again", engine, TimeSpan.FromMilliseconds(300));
        run.TimedOut.Should().BeTrue();
        run.End.Should().Contain("had not ended when the time was up").And.Contain("line 1");
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void A_program_that_halts_with_interrupt_chips_behind_it_ends_at_once(string engine)
    {
        RequireEngine(engine);
        Run(7, "bits 64\nhlt", engine).End.Should().Contain("nothing to wake it");
        Run(9, "bits 32\nhlt", engine).End.Should().Contain("nothing to wake it");
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void A_program_that_is_cancelled_ends(string engine)
    {
        RequireEngine(engine);
        using var cancel = new CancellationTokenSource();
        cancel.CancelAfter(TimeSpan.FromMilliseconds(50));
        var report = LabCatalog.Find("first-exit").Run("again: jmp again", Options(engine, TimeSpan.FromSeconds(60)), cancel.Token);
        report.Runs.Single().Interrupted.Should().BeTrue();
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void A_program_that_was_cancelled_before_it_began_ends(string engine)
    {
        RequireEngine(engine);
        var report = LabCatalog.Find("first-exit").Run("again: jmp again", Options(engine, TimeSpan.FromSeconds(60)), new CancellationToken(canceled: true));
        report.Runs.Single().Interrupted.Should().BeTrue();
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void A_program_that_makes_exits_without_end_is_counted_not_kept(string engine)
    {
        RequireEngine(engine);
        var run = Run(1, "mov cx, 25000\nagain: out 0x80, al\nloop again\nmov al, 3\nout 0xf4, al", engine, TimeSpan.FromSeconds(60));
        run.End.Should().Be("ended with 3");
        run.Exits.Should().HaveCount(20_000);
        run.ExitsDropped.Should().Be(5001);
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void A_console_has_a_limit(string engine)
    {
        RequireEngine(engine);
        var run = Run(1, "mov dx, 0x3f8\nmov bx, 2\nouter: mov cx, 40000\nagain: out dx, al\nloop again\ndec bx\njnz outer\nout 0xf4, al", engine, TimeSpan.FromSeconds(60));
        run.Console.Should().HaveLength(64 << 10);
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void Unknown_ports_and_addresses_read_as_ones(string engine)
    {
        RequireEngine(engine);
        var run = Run(1, "bits 32\nmov dx, 0x1234\nin eax, dx\nmov ebx, [0xe0000000]\nout 0xf4, al", engine);
        run.Registers.Should().Contain(("rax", 0xffff_ffffUL)).And.Contain(("rbx", 0xffff_ffffUL));
        run.Exits.Select(exit => exit.Reason).Should().Equal("KVM_EXIT_IO", "KVM_EXIT_MMIO", "KVM_EXIT_IO");
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void Strange_requests_to_the_labs_devices_are_noted(string engine)
    {
        RequireEngine(engine);
        Run(4, "bits 32\nmov eax, -1\nmov dx, 0x520\nout dx, eax\nout 0xf4, al", engine).Notes.Should().Contain(note => note.Contains("paging is off"));
        Run(7, "bits 64\nmov dx, 0x530\nmov al, 3\nout dx, al\nout 0xf4, al", engine).Notes.Should().Contain(note => note.Contains("an exception's"));
        Run(11, "bits 32\nout 0xe2, al\nout 0xf4, al", engine).Notes.Should().Contain("there is no snapshot to go back to");
        Run(12, "bits 64\nmov eax, 0xfffffff0\nmov dx, 0x550\nout dx, eax\nout 0xf4, al", engine).Console.Should().BeEmpty();
        Run(14, "bits 32\nout 0xe4, al\nout 0xf4, al", engine).Notes.Should().Contain("the source has no mutex, count or queue");
        Run(14, "bits 32\nmutex equ -5\ncount equ 0x7fffffff\nqueue equ 1\nout 0xf4, al", engine).Notes.Should().Contain("the source has no mutex, count or queue");
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void A_page_walk_through_tables_outside_of_memory_is_told(string engine)
    {
        RequireEngine(engine);
        Run(4, "bits 64\nmov qword [0x2008], 0x70000003\nmov eax, 0x40000000\nmov dx, 0x520\nout dx, eax\nout 0xf4, al", engine)
            .Notes.Should().Contain(note => note.Contains("PD at 0x70000000 is not in memory"));
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void A_refused_register_is_a_fault_of_the_guest(string engine)
    {
        RequireEngine(engine);
        var run = Run(6, "bits 64\nmov ecx, 0x4b560002\nrdmsr\nout 0xf4, al", engine);
        run.End.Should().StartWith("triple-faulted");
        run.Exits.Should().Contain(exit => exit.Reason == "KVM_EXIT_X86_RDMSR" && exit.What.Contains("#GP"));
    }

    [Fact]
    public void Random_programs_end_and_leave_a_report()
    {
        var random = new Random(5);
        for (int i = 0; i < 60; i++)
        {
            var bytes = string.Join(", ", Enumerable.Range(0, 64).Select(_ => random.Next(256)));
            int lab = 1 + (i % 12);
            int bits = new[] { 16, 32, 64 }[i % 3];
            var run = Run(lab, $"bits {bits}\nnop\ndb {bytes}", "soft", TimeSpan.FromMilliseconds(50));
            run.End.Should().NotBeEmpty();
        }
    }

    [Theory]
    [InlineData("", "1:1: there is no instruction in the source")]
    [InlineData("org 0x3fffff\nnop\nnop", "reaches to 0x400001; the machine has memory to 0x400000")]
    [InlineData("org 0x10000\nnop", "a program that starts in 16-bit mode begins below 0x10000")]
    [InlineData("nop\nnpo", "source:2:1: there is no instruction or directive 'npo'")]
    public void A_source_that_fits_no_machine_is_refused_with_its_place(string source, string message)
    {
        var run = () => Run(1, source, "soft");
        run.Should().Throw<LabSourceException>().Which.Message.Should().Contain(message);
    }

    [Fact]
    public void Two_runs_of_the_software_engine_are_the_same_run()
    {
        var lab = LabCatalog.Find("interrupts");
        var first = lab.Run(lab.Solution, Options("soft", TimeSpan.FromSeconds(60))).Runs.Single();
        var second = lab.Run(lab.Solution, Options("soft", TimeSpan.FromSeconds(60))).Runs.Single();
        second.Should().BeEquivalentTo(first);
    }

    private static RunLines Run(int lab, string source, string engine, TimeSpan? timeout = null) =>
        LabCatalog.Find($"{lab}").Run(source, Options(engine, timeout ?? TimeSpan.FromSeconds(60))).Runs[0];

    private static LabOptions Options(string engine, TimeSpan timeout) => new() { Engine = engine, Timeout = timeout };

    private static void RequireEngine(string engine) => Skip.If(engine == "kvm" && !File.Exists("/dev/kvm"), "this host has no /dev/kvm");
}
