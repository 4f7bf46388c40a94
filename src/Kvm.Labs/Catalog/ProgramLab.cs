using System.Diagnostics;
using Kvm.Labs.Assembling;
using Kvm.Labs.Machine;
using Kvm.Vmm;
using Kvm.Vmm.Bare;

namespace Kvm.Labs.Catalog;

/// <summary>A lab whose source is a program for the labs' machine.</summary>
internal sealed class ProgramLab(int number, string name, string title) : Lab(number, name, title)
{
    /// <inheritdoc/>
    public override string Extension => "asm";

    /// <summary>The runs; the first is what <c>lab run</c> and <c>lab step</c> show.</summary>
    public required IReadOnlyList<LabPlan> Plans { get; init; }

    /// <inheritdoc/>
    public override LabReport Run(string source, LabOptions options, CancellationToken cancel = default)
    {
        var program = Load(source, options);
        var runs = new List<RunLines>();
        foreach (var plan in PlansFor(options))
        {
            var outcome = Execute(program, plan, options, cancel);
            runs.Add(OutcomeText.Of(outcome, plan.Purpose));
            if (outcome.End == LabEnd.Interrupted)
                break;
        }

        return new LabReport(this, runs, "");
    }

    /// <inheritdoc/>
    public override CheckReport Check(string source, LabOptions options, CancellationToken cancel = default)
    {
        var watch = Stopwatch.StartNew();
        var program = Load(source, options);
        var lines = new List<CheckLine>();
        var engines = new List<string>();
        bool interrupted = false;
        foreach (var plan in PlansFor(options))
        {
            var outcome = Execute(program, plan, options, cancel);
            engines.Add(outcome.Engine);
            foreach (var check in plan.Checks)
                lines.Add(new CheckLine(plan.Purpose.Length == 0 ? check.Says : $"{plan.Purpose}: {check.Says}", check.Problem(outcome)));
            interrupted |= outcome.End == LabEnd.Interrupted;
            if (interrupted)
                break;
        }

        return new CheckReport(this, engines, lines, watch.Elapsed, interrupted);
    }

    /// <summary>Assembles a source.</summary>
    /// <exception cref="VmmException">It has mistakes.</exception>
    public static AssembledProgram Load(string source, LabOptions options)
    {
        var (program, errors) = options.Assembler(source);
        if (program is not null && LabMachine.Misfit(program) is { } misfit)
            (program, errors) = (null, [misfit]);
        return program ?? throw new LabSourceException(options.FileName, errors);
    }

    /// <summary>The engine a plan's run is on.</summary>
    public static string EngineFor(LabPlan plan, LabOptions options) => plan.Engine ?? options.Engine ?? (_kvm.Value ? "kvm" : "soft");

    /// <summary>Runs a program on a thread of its own, which may be prepared for kicks.</summary>
    public static LabOutcome Execute(AssembledProgram program, LabPlan plan, LabOptions options, CancellationToken cancel)
    {
        LabOutcome? outcome = null;
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                using var machine = new LabMachine(program, plan.Setup, EngineFor(plan, options));
                outcome = machine.Run(options.Timeout, cancel);
            }
            catch (Exception e)
            {
                failure = e;
            }
        })
        { Name = "lab vcpu0", IsBackground = true };
        thread.Start();
        thread.Join();
        if (failure is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        return outcome!;
    }

    private static readonly Lazy<bool> _kvm = new(() => BareEngines.KvmOpens);

    /// <summary>A plan that needs one engine is left out where the user asked for the other one, unless it is all there is.</summary>
    private List<LabPlan> PlansFor(LabOptions options)
    {
        var plans = Plans.Where(plan => plan.Engine is null || options.Engine is null || plan.Engine == options.Engine).ToList();
        return plans.Count == 0 ? throw new VmmException(LabErrors.WrongEngine, $"lab {Number} runs on {string.Join(" and ", Plans.Select(plan => plan.Engine).Distinct())}, not on {options.Engine}") : plans;
    }
}
