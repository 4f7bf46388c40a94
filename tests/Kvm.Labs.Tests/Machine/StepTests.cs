using Kvm.Labs.Catalog;
using Kvm.Vmm;

namespace Kvm.Labs.Tests.Machine;

public sealed class StepTests
{
    private const string Counting = "bits 32\nxor eax, eax\nagain: inc eax\npush eax\nout 0x80, al\ncmp eax, 3\njb again\nout 0xf4, al";

    public static TheoryData<string> Engines => ["kvm", "soft"];

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void Every_instruction_is_one_step_and_shows_what_it_changed(string engine)
    {
        Skip.If(engine == "kvm" && !File.Exists("/dev/kvm"), "this host has no /dev/kvm");
        using var stepper = Stepper(1, Counting, engine);
        var seen = new List<string>();
        while (!stepper.HasEnded)
        {
            seen.Add(stepper.View().Instruction.Split(' ')[0]);
            stepper.Step();
        }

        seen.Should().Equal("xor", "inc", "push", "out", "cmp", "jb", "inc", "push", "out", "cmp", "jb", "inc", "push", "out", "cmp", "jb", "out");
        stepper.View().End.Should().Be("ended with 3");
        stepper.View().Exits.Should().Be(4);
        stepper.Step();
        stepper.Steps.Should().Be(17);
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void Continue_goes_behind_the_next_exit(string engine)
    {
        Skip.If(engine == "kvm" && !File.Exists("/dev/kvm"), "this host has no /dev/kvm");
        using var stepper = Stepper(1, Counting, engine);
        stepper.Continue();
        var view = stepper.View();
        view.LastExit!.Value.What.Should().StartWith("out 0x80, 0x1");
        view.LastExit.Value.Line.Should().Be(5);
        view.Source.Single(line => line.Current).Line.Should().Be(6);
        view.Registers.Should().Contain(register => register.Name == "rax" && register.Value == 1 && register.Changed);
        view.Memory[0].Bytes[..4].Should().Equal(1, 0, 0, 0);
    }

    [SkippableTheory]
    [MemberData(nameof(Engines))]
    public void Two_processors_take_turns_and_one_that_waits_is_passed_over(string engine)
    {
        Skip.If(engine == "kvm" && !File.Exists("/dev/kvm"), "this host has no /dev/kvm");
        var lab = LabCatalog.Find("9");
        using var stepper = new LabStepper(lab, lab.Solution, new LabOptions { Engine = engine, Timeout = TimeSpan.FromSeconds(60) });
        var turns = new List<int>();
        for (int i = 0; i < 5000 && !stepper.HasEnded; i++)
        {
            var view = stepper.View();
            view.Vcpus.Should().Be(2);
            turns.Add(view.Vcpu);
            stepper.Step();
        }

        stepper.View().End.Should().Be("ended with 0");
        int first = turns.IndexOf(1), last = turns.LastIndexOf(1);
        first.Should().BePositive("it sleeps until the first one sends it a start-up interrupt");
        turns[first..last].Chunk(2).Should().OnlyContain(pair => pair.Length == 1 || (pair[0] == 1 && pair[1] == 0), "they take turns");
        turns[(last + 1)..].Should().OnlyContain(vcpu => vcpu == 0, "the second one has halted for ever");
    }

    [Fact]
    public void Going_back_on_two_processors_shows_the_same_as_going_there()
    {
        var lab = LabCatalog.Find("9");
        using var stepper = new LabStepper(lab, lab.Solution, new LabOptions { Engine = "soft" });
        var views = new List<string>();
        for (int i = 0; i < 40 && !stepper.HasEnded; i++)
        {
            views.Add(Picture(stepper.View()));
            stepper.Step();
        }

        views.Count.Should().BeGreaterThan(10);
        for (int i = views.Count - 1; i >= 0; i--)
        {
            stepper.Back();
            Picture(stepper.View()).Should().Be(views[i], $"of step {i}");
        }
    }

    [Fact]
    public void Back_undoes_exactly_one_step()
    {
        using var stepper = Stepper(1, Counting, "soft");
        var views = new List<string>();
        while (!stepper.HasEnded)
        {
            views.Add(Picture(stepper.View()));
            stepper.Step();
        }

        for (int i = views.Count - 1; i >= 0; i--)
        {
            stepper.Back();
            stepper.Steps.Should().Be(i);
            Picture(stepper.View()).Should().Be(views[i]);
        }

        stepper.Back();
        stepper.Steps.Should().Be(0);
    }

    [SkippableFact]
    public void Back_does_nothing_where_a_run_cannot_be_repeated()
    {
        Skip.IfNot(File.Exists("/dev/kvm"), "this host has no /dev/kvm");
        using var stepper = Stepper(1, Counting, "kvm");
        stepper.Step();
        stepper.CanGoBack.Should().BeFalse();
        stepper.Back();
        stepper.Steps.Should().Be(1);
    }

    [Fact]
    public void Interrupts_are_stepped_through_and_back()
    {
        var lab = LabCatalog.Find("interrupts");
        using var stepper = new LabStepper(lab, lab.Solution, new LabOptions { Engine = "soft" });
        stepper.Continue();
        stepper.Steps.Should().BeGreaterThan(20);
        var before = stepper.View();
        stepper.Step();
        stepper.Back();
        var after = stepper.View();
        after.Registers.Select(register => register.Value).Should().Equal(before.Registers.Select(register => register.Value));
        (after.Address, after.Console, after.Exits, Convert.ToHexString(after.Memory[1].Bytes)).Should().Be((before.Address, before.Console, before.Exits, Convert.ToHexString(before.Memory[1].Bytes)));
    }

    [Fact]
    public void A_lab_without_a_program_is_not_stepped()
    {
        var lab = LabCatalog.Find("scheduling");
        var step = () => new LabStepper(lab, lab.Source, new LabOptions());
        step.Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0042");
    }

    private static LabStepper Stepper(int lab, string source, string engine) => new(LabCatalog.Find($"{lab}"), source, new LabOptions { Engine = engine });

    private static string Picture(StepView view) =>
        $"{view.Address:x} {view.Instruction} {string.Join(' ', view.Registers.Select(register => $"{register.Name}={register.Value:x}{register.Changed}"))} {view.Console} {view.Exits} {view.LastExit} {Convert.ToHexString(view.Memory[0].Bytes)}";
}
