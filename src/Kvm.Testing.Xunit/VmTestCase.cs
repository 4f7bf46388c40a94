using System.ComponentModel;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Kvm.Testing.Xunit;

/// <summary>A test with a guest: what is before and after it.</summary>
public sealed class VmTestCase : XunitTestCase
{
    private bool _requiresKvm;

    /// <summary>For xunit, which fills it in.</summary>
    [EditorBrowsable(EditorBrowsableState.Never)]
    [Obsolete("Called by xunit alone")]
    public VmTestCase()
    {
    }

    internal VmTestCase(IMessageSink diagnostics, TestMethodDisplay display, TestMethodDisplayOptions options, ITestMethod method, object[]? arguments, bool requiresKvm)
        : base(diagnostics, display, options, method, arguments) =>
        _requiresKvm = requiresKvm;

    /// <inheritdoc/>
    public override void Serialize(IXunitSerializationInfo data)
    {
        base.Serialize(data);
        data.AddValue(nameof(VmFactAttribute.RequiresKvm), _requiresKvm);
    }

    /// <inheritdoc/>
    public override void Deserialize(IXunitSerializationInfo data)
    {
        base.Deserialize(data);
        _requiresKvm = data.GetValue<bool>(nameof(VmFactAttribute.RequiresKvm));
    }

    /// <inheritdoc/>
    public override Task<RunSummary> RunAsync(
        IMessageSink diagnosticMessageSink, IMessageBus messageBus, object[] constructorArguments, ExceptionAggregator aggregator, CancellationTokenSource cancellationTokenSource) =>
        VmTestRun.RunAsync(this, _requiresKvm, messageBus, constructorArguments,
            bus => base.RunAsync(diagnosticMessageSink, bus, constructorArguments, aggregator, cancellationTokenSource));
}

/// <summary>A test with a guest whose data are found when it runs: what is before and after all of them.</summary>
public sealed class VmTheoryTestCase : XunitTheoryTestCase
{
    private bool _requiresKvm;

    /// <summary>For xunit, which fills it in.</summary>
    [EditorBrowsable(EditorBrowsableState.Never)]
    [Obsolete("Called by xunit alone")]
    public VmTheoryTestCase()
    {
    }

    internal VmTheoryTestCase(IMessageSink diagnostics, TestMethodDisplay display, TestMethodDisplayOptions options, ITestMethod method, bool requiresKvm)
        : base(diagnostics, display, options, method) =>
        _requiresKvm = requiresKvm;

    /// <inheritdoc/>
    public override void Serialize(IXunitSerializationInfo data)
    {
        base.Serialize(data);
        data.AddValue(nameof(VmTheoryAttribute.RequiresKvm), _requiresKvm);
    }

    /// <inheritdoc/>
    public override void Deserialize(IXunitSerializationInfo data)
    {
        base.Deserialize(data);
        _requiresKvm = data.GetValue<bool>(nameof(VmTheoryAttribute.RequiresKvm));
    }

    /// <inheritdoc/>
    public override Task<RunSummary> RunAsync(
        IMessageSink diagnosticMessageSink, IMessageBus messageBus, object[] constructorArguments, ExceptionAggregator aggregator, CancellationTokenSource cancellationTokenSource) =>
        VmTestRun.RunAsync(this, _requiresKvm, messageBus, constructorArguments,
            bus => base.RunAsync(diagnosticMessageSink, bus, constructorArguments, aggregator, cancellationTokenSource));
}
